"""SQL of workers: who is there, which disk each has, and where it serves what is on it.

Whether one is alive is decided by the clock of the database alone. Only PostgreSQL has workers.
"""

from collections import Counter, defaultdict
from enum import StrEnum

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    column,
    delete,
    func,
    insert,
    literal_column,
    select,
    table,
    update,
)

from app.clock import rfc3339
from app.models.agents import AgentSummary
from app.models.wire import WireModel
from app.store.liveness import PROCESS, connection_name
from app.store.tables import DELETIONS, INT64, SESSIONS, WORKERS

STALE_SECONDS = 12.0
"""After so long without a heartbeat a worker is taken for dead."""


class WorkerAgent(WireModel):
    """An agent of a worker; `offer_key` is the key of its stored offers, None if it offers no choice."""

    summary: AgentSummary
    offer_key: str | None = None


class WorkerOffer(WireModel):
    """The offer of a worker: its agents, the default one first, and whether they are in a sandbox."""

    agents: list[WorkerAgent]
    sandboxed: bool = False


class WorkerRow(msgspec.Struct, frozen=True):
    """A worker that is, or was, there; `url` is where it serves the workspaces of its `disk` to who has the token."""

    name: str
    disk: str
    url: str | None
    token: str
    offer: WorkerOffer
    is_alive: bool = True
    is_draining: bool = False

    @property
    def takes_sessions(self) -> bool:
        """Whether it takes sessions that have something to do."""
        return self.is_alive and not self.is_draining


class WorkerState(StrEnum):
    """Whether a worker is there: it has ended by itself if it is stopped, and stays silent if it is lost.

    One that is draining is there, and takes no more sessions.
    """

    ALIVE = "alive"
    DRAINING = "draining"
    STOPPED = "stopped"
    LOST = "lost"


class WorkerReport(msgspec.Struct, frozen=True, kw_only=True):
    """A worker for its operator; times are RFC 3339 by the clock of the database.

    `sessions` are the ids of those that it works on now, `workspaces` the number of those on its disk, and `agents`
    the names of those that it can run.
    """

    id: str
    state: WorkerState
    started_at: str
    last_heartbeat: str
    sessions: list[str]
    workspaces: int
    disk: str
    address: str | None
    agents: list[str]


_decode_offer = msgspec.json.Decoder(WorkerOffer).decode
_NOW = func.floor(func.extract("epoch", func.clock_timestamp()) * 1000).cast(INT64)
_STALE_MS = round(STALE_SECONDS * 1000)
_IS_ALIVE: ColumnElement[bool] = and_(WORKERS.c.url.is_not(None), WORKERS.c.seen_at > _NOW - _STALE_MS)
_COLUMNS = (
    *(WORKERS.c.name, WORKERS.c.disk, WORKERS.c.url, WORKERS.c.token, WORKERS.c.offer),
    *(_IS_ALIVE.label("is_alive"), WORKERS.c.draining),
)
_ALIVE_FIRST = _IS_ALIVE.desc(), WORKERS.c.started_at, WORKERS.c.name


def beat(connection: Connection, worker: WorkerRow) -> bool:
    """Note that a worker is alive, and what it says of itself; return whether it is to drain."""
    values = {"url": worker.url, "offer": msgspec.json.encode(worker.offer), "seen_at": _NOW}
    known = update(WORKERS).where(WORKERS.c.name == worker.name).values(values)
    draining = connection.execute(known.returning(WORKERS.c.draining)).scalar_one_or_none()
    if draining is None:
        new = {"name": worker.name, "disk": worker.disk, "token": worker.token, "started_at": _NOW}
        connection.execute(insert(WORKERS).values(values | new))
    return bool(draining)


def drain(connection: Connection, name: str) -> bool:
    """Have a worker take no more sessions; return False if there is none of that name that is alive."""
    worker = update(WORKERS).where(WORKERS.c.name == name, _IS_ALIVE)
    return connection.execute(worker.values(draining=True)).rowcount == 1


def end(connection: Connection, name: str) -> None:
    """Note that a worker has stopped."""
    connection.execute(update(WORKERS).where(WORKERS.c.name == name).values(url=None))


def end_connections(connection: Connection, name: str) -> None:
    """End the connections of a worker that is lost, and with them its transactions and their locks.

    Those of this process stay: it is not lost.
    """
    process = name.rpartition("-")[0]
    if process == PROCESS:
        return
    activity = table("pg_stat_activity", column("pid"), column("datname"), column("application_name"))
    of_process = activity.c.application_name == connection_name(process)
    query = select(func.pg_terminate_backend(activity.c.pid))
    connection.execute(query.where(activity.c.datname == func.current_database(), of_process))


def known(connection: Connection) -> list[WorkerRow]:
    """Return all workers, those that are alive first, then the oldest first."""
    query = select(*_COLUMNS).order_by(*_ALIVE_FIRST)
    return [
        WorkerRow(name, disk, url, token, _decode_offer(offer), is_alive, is_draining)
        for name, disk, url, token, offer, is_alive, is_draining in connection.execute(query)
    ]


def reports(connection: Connection) -> list[WorkerReport]:
    """Return what an operator wants to know of all workers, in the order of `known`."""
    owned: defaultdict[str, list[str]] = defaultdict(list)
    leased = select(SESSIONS.c.owner, SESSIONS.c.id).where(SESSIONS.c.owner.is_not(None)).order_by(SESSIONS.c.row_id)
    for owner, session in connection.execute(leased):
        owned[owner].append(session)
    on_disk = select(SESSIONS.c.disk, func.count()).where(SESSIONS.c.disk.is_not(None)).group_by(SESSIONS.c.disk)
    workspaces: Counter[str] = Counter()
    for disk, count in connection.execute(on_disk):
        workspaces[disk] = count
    query = select(*_COLUMNS, WORKERS.c.started_at, WORKERS.c.seen_at).order_by(*_ALIVE_FIRST)
    return [
        WorkerReport(
            id=name,
            state=_state(url, is_alive=is_alive, is_draining=is_draining),
            started_at=rfc3339(started_at) or "",
            last_heartbeat=rfc3339(seen_at) or "",
            sessions=owned[name],
            workspaces=workspaces[disk],
            disk=disk,
            address=url,
            agents=[agent.summary.name for agent in _decode_offer(offer).agents if agent.summary.available],
        )
        for name, disk, url, _token, offer, is_alive, is_draining, started_at, seen_at in connection.execute(query)
    ]


def totals(connection: Connection) -> tuple[int, float, int]:
    """Return how many workers are alive, for how many seconds one has been silent at most, and how many jobs wait.

    Those that have ended by themselves are not silent.
    """
    silent = (_NOW - func.min(WORKERS.c.seen_at).filter(WORKERS.c.url.is_not(None))) / 1000.0
    jobs: ColumnElement[int] = literal_column("(SELECT count(*) FROM procrastinate_jobs WHERE status = 'todo')")
    query = select(func.count().filter(_IS_ALIVE), func.coalesce(silent, 0), jobs)
    alive, seconds, waiting = connection.execute(query.select_from(WORKERS)).one()
    return alive, float(seconds), waiting


def _state(url: str | None, *, is_alive: bool, is_draining: bool) -> WorkerState:
    if is_alive:
        return WorkerState.DRAINING if is_draining else WorkerState.ALIVE
    return WorkerState.LOST if url else WorkerState.STOPPED


def lost_disks(connection: Connection, after: float) -> list[str]:
    """Return the disks that no worker has had for so many seconds."""
    last_seen = func.max(WORKERS.c.seen_at)
    query = select(WORKERS.c.disk).group_by(WORKERS.c.disk).having(~func.bool_or(_IS_ALIVE))
    return list(connection.execute(query.having(last_seen <= _NOW - round(after * 1000))).scalars())


def forget(connection: Connection) -> None:
    """Forget workers that are not there any more, but the last one of each disk that still has a session."""
    newer = WORKERS.alias()
    has_successor = select(newer.c.name).where(newer.c.disk == WORKERS.c.disk, newer.c.seen_at > WORKERS.c.seen_at)
    has_sessions = select(SESSIONS.c.row_id).where(SESSIONS.c.disk == WORKERS.c.disk)
    has_deletions = select(DELETIONS.c.row_id).where(DELETIONS.c.disk == WORKERS.c.disk)
    is_needed = ~has_successor.exists() & (has_sessions.exists() | has_deletions.exists())
    connection.execute(delete(WORKERS).where(~_IS_ALIVE, ~is_needed))


def address(connection: Connection) -> str | None:
    """Return this process's address as the database sees it; None where they are on one machine."""
    seen: str | None = connection.execute(select(func.host(func.inet_client_addr()))).scalar_one()
    return seen
