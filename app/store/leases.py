"""Leases: the exclusive right of one worker to work on a session, where several workers share a store.

A lease is the session's `owner` with an `epoch` that grows with each new owner. An owner's writes carry its epoch,
as a condition of the lock that each command takes first. So the writes of a worker that was taken for dead, and was
only slow, are refused whenever they arrive.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, false, literal_column, select, update

from app.models.runs import RunStatus
from app.models.sessions import SessionStatus
from app.store import slots
from app.store.database import Database, retry_until_stored
from app.store.notifier import ChangeNotifier
from app.store.runs import SESSION_HAS_UNFINISHED_RUN
from app.store.statements import Statement
from app.store.tables import APPROVALS, DELETIONS, RUNS, SESSIONS

P = ParamSpec("P")
T = TypeVar("T")
_LEASES = "leases"
_HAS_WORK = ~SESSIONS.c.status.in_((SessionStatus.STOPPED, SessionStatus.FAILED, SessionStatus.RUNNING)) | (
    (SESSIONS.c.status == SessionStatus.RUNNING) & SESSION_HAS_UNFINISHED_RUN
)
_HAS_ACTIVE_RUN = (
    select(RUNS.c.row_id).where(RUNS.c.session == SESSIONS.c.row_id, RUNS.c.status == RunStatus.RUNNING).exists()
)
_WAS_AT_WORK = SESSIONS.c.owner.is_not(None) & (
    SESSIONS.c.status.in_((SessionStatus.PENDING, SessionStatus.STOPPING)) | _HAS_ACTIVE_RUN
)
_LOST_WORKERS = SESSIONS.c.lost_workers + case((_WAS_AT_WORK, 1), else_=0)
_IS_HELD = Statement(
    select(SESSIONS.c.row_id)
    .where(SESSIONS.c.row_id == bindparam("row_id_"), SESSIONS.c.epoch == bindparam("epoch_"))
    .with_for_update()
)


class LeaseLost(Exception):
    """Another worker owns the session now: what this one does on it has no effect any more."""


class SessionGone(LeaseLost):
    """The session has been deleted meanwhile."""


class Placement(NamedTuple):
    """Where a session belongs: on the `disk` that has its workspace, or wherever its `agent` is if it has none yet."""

    session: int
    disk: str | None
    owner: str | None = None
    agent: str | None = None


class _Choice(msgspec.Struct):
    """The part of a session's request that decides where it may begin."""

    agent: str | None = None


_decode_choice = msgspec.json.Decoder(_Choice).decode


class Orders(NamedTuple):
    """The state of a session for its owner: its status and since when (ms), and what is to be done.

    `epoch` is that of the present lease, `cancel` the active run if it is to be cancelled.
    """

    epoch: int
    status: SessionStatus
    status_changed_at: int
    has_queued_run: bool
    cancel: int | None


def acquire(connection: Connection, session: int, worker: str, disk: str) -> int | None:
    """Give the lease to a worker, whoever has had it, and the session to its disk; return the epoch.

    None if the session is deleted or on another disk.
    """
    lease = update(SESSIONS).where(SESSIONS.c.row_id == session, SESSIONS.c.disk.is_(None) | (SESSIONS.c.disk == disk))
    lease = lease.values(epoch=SESSIONS.c.epoch + 1, owner=worker, disk=disk, lost_workers=_LOST_WORKERS)
    return connection.execute(lease.returning(SESSIONS.c.epoch)).scalar_one_or_none()


def revoke(connection: Connection, session: int) -> int:
    """Take the lease from a worker that is lost; return how many were lost in a row at work on the session."""
    lease = update(SESSIONS).where(SESSIONS.c.row_id == session)
    lease = lease.values(epoch=SESSIONS.c.epoch + 1, owner=None, lost_workers=_LOST_WORKERS)
    return connection.execute(lease.returning(SESSIONS.c.lost_workers)).scalar_one_or_none() or 0


def release(connection: Connection, session: int, epoch: int) -> bool:
    """Give up a lease unless there is work; return False if there is. A lease that is lost counts as given up."""
    query = select(_HAS_WORK).where(SESSIONS.c.row_id == session, SESSIONS.c.epoch == epoch)
    connection.execute(select(SESSIONS.c.row_id).where(SESSIONS.c.row_id == session).with_for_update())
    if connection.execute(query).scalar_one_or_none():
        return False
    give_up(connection, session, epoch)
    return True


def give_up(connection: Connection, session: int, epoch: int) -> bool:
    """Give up a lease although there may be work; return False if it is lost already."""
    lease = update(SESSIONS).where(SESSIONS.c.row_id == session, SESSIONS.c.epoch == epoch)
    return connection.execute(lease.values(epoch=SESSIONS.c.epoch + 1, owner=None)).rowcount == 1


def placement(connection: Connection, session: int) -> Placement | None:
    """Return where a session, or a deleted one, belongs; None once nothing is left of it."""
    return next(_placements(connection, SESSIONS.c.row_id == session, DELETIONS.c.row_id == session), None)


def on_disk(connection: Connection, disk: str) -> list[int]:
    """Return the sessions on a disk that have not ended."""
    ended = (SessionStatus.STOPPED, SessionStatus.COMPLETED, SessionStatus.FAILED)
    query = select(SESSIONS.c.row_id).where(SESSIONS.c.disk == disk, SESSIONS.c.status.not_in(ended))
    return list(connection.execute(query).scalars())


def owned_by(connection: Connection, worker: str) -> list[int]:
    """Return the sessions of which a worker has the lease."""
    return list(connection.execute(select(SESSIONS.c.row_id).where(SESSIONS.c.owner == worker)).scalars())


def leave_disk(connection: Connection, session: int) -> None:
    """Let a session begin anew on any disk."""
    connection.execute(update(SESSIONS).where(SESSIONS.c.row_id == session).values(disk=None))


def orders(connection: Connection, session: int) -> Orders | None:
    """Return what is to be done in a session; None once it is deleted."""
    queued = select(RUNS.c.row_id).where(RUNS.c.session == session, RUNS.c.status == RunStatus.QUEUED).exists()
    cancelled = select(RUNS.c.row_id).where(
        RUNS.c.session == session, RUNS.c.status == RunStatus.RUNNING, RUNS.c.cancel_requested.is_not(None)
    )
    query = select(
        SESSIONS.c.epoch,
        SESSIONS.c.status,
        SESSIONS.c.status_changed_at,
        case((queued, True), else_=False),
        cancelled.limit(1).scalar_subquery(),
    ).where(SESSIONS.c.row_id == session)
    row = connection.execute(query).one_or_none()
    return row and Orders(row[0], SessionStatus(row[1]), row[2], bool(row[3]), row[4])


def with_work(connection: Connection, among: Sequence[int]) -> list[int]:
    """Return those sessions that have work."""
    query = select(SESSIONS.c.row_id).where(SESSIONS.c.row_id.in_(among), _HAS_WORK)
    return list(connection.execute(query).scalars())


def without_worker(connection: Connection, limit: int, max_running: int | None) -> list[Placement]:
    """Return sessions with work for which there is no job, deleted ones too, but none that waits for a slot."""
    no_job: ColumnElement[bool] = literal_column(
        "NOT EXISTS (SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing') AND lock = 's' || row_id::text)"
    )
    free = limit if max_running is None else min(limit, slots.count_free(connection, max_running))
    is_pending: ColumnElement[bool] = SESSIONS.c.status == SessionStatus.PENDING
    pending = list(_placements(connection, and_(is_pending, no_job), false(), free))
    return pending + list(_placements(connection, and_(_HAS_WORK, ~is_pending, no_job), no_job, limit))


def _placements(
    connection: Connection, of_sessions: ColumnElement[bool], of_deleted: ColumnElement[bool], limit: int = 1
) -> Iterator[Placement]:
    columns = SESSIONS.c.row_id, SESSIONS.c.disk, SESSIONS.c.owner, SESSIONS.c.request
    oldest_first = select(*columns).order_by(SESSIONS.c.status_changed_at, SESSIONS.c.row_id).limit(limit)
    for row_id, disk, owner, request in connection.execute(oldest_first.where(of_sessions)):
        yield Placement(row_id, disk, owner, None if disk else _decode_choice(request).agent)
    deleted = select(DELETIONS.c.row_id, DELETIONS.c.disk).where(of_deleted).limit(limit)
    for row_id, disk in connection.execute(deleted):
        yield Placement(row_id, disk)


def expired(connection: Connection, now: int) -> list[int]:
    """Return sessions with pending interrupts that have expired at a time in ms."""
    query = select(APPROVALS.c.session).distinct()
    return list(
        connection.execute(
            query.where(
                APPROVALS.c.status == "pending", APPROVALS.c.interrupt_id.is_not(None), APPROVALS.c.expires_at <= now
            )
        ).scalars()
    )


def check(connection: Connection, session: int) -> bool:
    """Lock a session on behalf of a worker; return False if no worker writes, raise `LeaseLost` if it has no lease."""
    held: Mapping[int, int] | None = connection.info.get(_LEASES)
    if held is None:
        return False
    if _IS_HELD(connection, row_id_=session, epoch_=held.get(session, -1)).fetchone() is None:
        exists = select(SESSIONS.c.row_id).where(SESSIONS.c.row_id == session)
        raise LeaseLost if connection.execute(exists).one_or_none() else SessionGone
    return True


class LeasedDatabase(Database):
    """A database as a worker's engine uses it: what it writes to a session needs the session's lease.

    Reads wait for the storage while that is away, since agents go on. `held` has the epochs of the worker's leases by
    session; it may change at any time. All methods raise `LeaseLost`.
    """

    def __init__(self, database: Database) -> None:
        self.held: dict[int, int] = {}
        self.refused_writes = 0  # of sessions that another worker has
        self._database = database
        self._lost = asyncio.Event()

    def lose_all(self) -> None:
        """Have no lease any more: whatever waits for the storage, however long that takes, raises `LeaseLost` now."""
        self.held.clear()
        self._lost.set()
        self._lost = asyncio.Event()

    @property
    def notifier(self) -> ChangeNotifier:  # type: ignore[override]
        """That of the database."""
        return self._database.notifier

    async def read(self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Database`; waits for the storage while that is away."""
        return await self._unless_lost(retry_until_stored(partial(self._database.read, function, *args, **kwargs)))

    async def read_one(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """See `Database`; waits for the storage while that is away."""
        return await self._unless_lost(retry_until_stored(partial(self._database.read_one, function, *args, **kwargs)))

    async def read_in_thread(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """See `Database`; waits for the storage while that is away."""
        read = partial(self._database.read_in_thread, function, *args, **kwargs)
        return await self._unless_lost(retry_until_stored(read))

    async def write(self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Database`."""
        return await self._count_refusal(self._database.write(self._leased(function, *args, **kwargs)))

    async def write_until_stored(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """See `Database`."""
        return await self._count_refusal(self._database.write_until_stored(self._leased(function, *args, **kwargs)))

    async def write_from_reserve(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """See `Database`."""
        return await self._count_refusal(self._database.write_from_reserve(self._leased(function, *args, **kwargs)))

    async def close(self) -> None:
        """Do nothing: whoever has opened the database closes it."""

    def _leased(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> Callable[[Connection], T]:
        def leased(connection: Connection) -> T:
            info: dict[str, Any] = connection.info
            info[_LEASES] = self.held
            try:
                return function(connection, *args, **kwargs)
            finally:
                del info[_LEASES]

        return leased

    async def _count_refusal(self, write: Coroutine[Any, Any, T]) -> T:
        try:
            return await self._unless_lost(write)
        except SessionGone:
            raise
        except LeaseLost:
            self.refused_writes += 1
            raise

    async def _unless_lost(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of work; raise `LeaseLost` instead once the worker loses its leases."""
        task, lost = asyncio.ensure_future(work), asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait({task, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise LeaseLost
            return task.result()
        finally:
            task.cancel()
            lost.cancel()
