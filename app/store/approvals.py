"""SQL of approvals: what agents request permission for, and the decisions."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, func, insert, select, update

from app.clock import now_ms, rfc3339
from app.errors import ApprovalNotFound
from app.models.approvals import Approval, ApprovalRequest, ApprovalStatus
from app.models.runs import RunStatus
from app.store.dialect import in_json_array
from app.store.statements import Statement
from app.store.tables import APPROVALS, INT64, RUNS

_decode_request = msgspec.json.Decoder(ApprovalRequest).decode


class PendingApproval(msgspec.Struct, frozen=True):
    """An approval that is requested within a turn, before it is stored; times in ms.

    `event` is the CUSTOM event that announces it in the log.
    """

    id: str
    request: ApprovalRequest
    created_at: int
    expires_at: int
    event: bytes


class ApprovalRow(msgspec.Struct, frozen=True):
    """A stored approval; times in ms.

    If it was requested at the end of a run, `interrupt_id` is the agent's name for it and `decision` an entry of
    AG-UI's `resume`. If it was requested within a turn, `interrupt_id` is None and `decision` an `ApprovalDecision`.
    """

    row_id: int
    id: str
    run: int
    run_id: str
    thread_id: str
    status: ApprovalStatus
    interrupt_id: str | None
    request: ApprovalRequest
    decision: dict[str, Any] | None
    created_at: int
    expires_at: int | None

    def public(self) -> Approval:
        """Return the approval as a client sees it."""
        return Approval(
            id=self.id,
            run_id=self.run_id,
            status=self.status,
            created_at=rfc3339(self.created_at) or "",
            expires_at=rfc3339(self.expires_at),
            **msgspec.structs.asdict(self.request),
        )


_COLUMNS = (
    APPROVALS.c.row_id,
    APPROVALS.c.id,
    APPROVALS.c.run,
    RUNS.c.run_id,
    RUNS.c.thread_id,
    APPROVALS.c.status,
    APPROVALS.c.interrupt_id,
    APPROVALS.c.request,
    APPROVALS.c.decision,
    APPROVALS.c.created_at,
    APPROVALS.c.expires_at,
)
_IS_INTERRUPT = APPROVALS.c.interrupt_id.is_not(None)
_IS_PENDING = APPROVALS.c.status == ApprovalStatus.PENDING  # whether it has expired or not


def is_open(now: Any) -> ColumnElement[bool]:
    """Return the condition that an approval is pending and has not expired at a time in ms."""
    return _IS_PENDING & func.coalesce(APPROVALS.c.expires_at > now, True)


def _rows(*conditions: ColumnElement[bool]) -> Any:
    return (
        select(*_COLUMNS).join(RUNS, RUNS.c.row_id == APPROVALS.c.run).where(*conditions).order_by(APPROVALS.c.row_id)
    )


_OPEN_IDS = Statement(
    select(APPROVALS.c.session, APPROVALS.c.id)
    .where(in_json_array(APPROVALS.c.session, bindparam("sessions")), is_open(bindparam("now", type_=INT64)))
    .order_by(APPROVALS.c.row_id)
)
_PENDING_IN_TURN = Statement(_rows(APPROVALS.c.run == bindparam("run_"), _IS_PENDING, ~_IS_INTERRUPT))
_OPEN = Statement(_rows(APPROVALS.c.session == bindparam("session_"), is_open(bindparam("now", type_=INT64))))


def add(
    connection: Connection,
    *,
    approval_id: str,
    session: int,
    run: int,
    request: ApprovalRequest,
    interrupt_id: str | None,
    created_at: int,
    expires_at: int | None,
) -> None:
    """Insert a pending approval."""
    row = {
        "id": approval_id,
        "session": session,
        "run": run,
        "status": ApprovalStatus.PENDING,
        "interrupt_id": interrupt_id,
        "request": msgspec.json.encode(request),
        "created_at": created_at,
        "expires_at": expires_at,
    }
    connection.execute(insert(APPROVALS), row)


def find(connection: Connection, session: int, approval_id: str) -> ApprovalRow:
    """Return an approval of the session; raise `ApprovalNotFound`."""
    query = _rows(APPROVALS.c.session == session, APPROVALS.c.id == approval_id)
    if row := connection.execute(query).one_or_none():
        return _approval(row)
    raise ApprovalNotFound


def open_approvals(connection: Connection, session: int) -> list[ApprovalRow]:
    """Return those of a session that are pending and have not expired, oldest first."""
    return [_approval(row) for row in _OPEN(connection, session_=session, now=now_ms())]


def open_ids(connection: Connection, sessions: Iterable[int]) -> dict[int, list[str]]:
    """Return the ids of those that are pending and have not expired, by session, oldest first."""
    found: dict[int, list[str]] = {}
    row_ids = msgspec.json.encode(list(sessions)).decode()
    for session, approval_id in _OPEN_IDS(connection, sessions=row_ids, now=now_ms()):
        found.setdefault(session, []).append(approval_id)
    return found


def pending_in_turn(connection: Connection, run: int) -> list[ApprovalRow]:
    """Return those that a run has requested within its turn and that are pending, expired ones too."""
    return [_approval(row) for row in _PENDING_IN_TURN(connection, run_=run)]


def unresumed_interrupts(connection: Connection, session: int, thread_id: str) -> list[ApprovalRow]:
    """Return the interrupts of a thread, in every state, of runs that no other run has continued yet."""
    ended = RUNS.c.status.in_((RunStatus.WAITING, RunStatus.INTERRUPTED)) & RUNS.c.continued_by.is_(None)
    query = _rows(RUNS.c.session == session, RUNS.c.thread_id == thread_id, ended, _IS_INTERRUPT)
    return [_approval(row) for row in connection.execute(query)]


def continued_by(connection: Connection, session: int, run_id: str) -> list[ApprovalRow]:
    """Return the interrupts of the runs that a run continues."""
    query = _rows(RUNS.c.session == session, RUNS.c.continued_by == run_id, _IS_INTERRUPT)
    return [_approval(row) for row in connection.execute(query)]


def next_expiry(connection: Connection, session: int) -> int | None:
    """Return the time in ms at which the next of the session's pending interrupts expires; None if none does."""
    query = select(func.min(APPROVALS.c.expires_at)).where(APPROVALS.c.session == session, _IS_PENDING, _IS_INTERRUPT)
    found: int | None = connection.execute(query).scalar_one()
    return found


def sessions_with_expiry(connection: Connection) -> list[int]:
    """Return the row ids of the sessions of all projects with pending interrupts that expire."""
    expiring = APPROVALS.c.expires_at.is_not(None)
    query = select(APPROVALS.c.session).distinct().where(expiring, _IS_PENDING, _IS_INTERRUPT)
    return list(connection.execute(query).scalars())


def expire_interrupts(connection: Connection, session: int) -> None:
    """Put all pending interrupts of a session into the state expired."""
    pending = (APPROVALS.c.session == session) & _IS_PENDING & _IS_INTERRUPT
    connection.execute(update(APPROVALS).where(pending).values(status=ApprovalStatus.EXPIRED))


def interrupts_of(connection: Connection, run: int) -> list[ApprovalRow]:
    """Return all interrupts with which a run has ended, in every state."""
    return [_approval(row) for row in connection.execute(_rows(APPROVALS.c.run == run, _IS_INTERRUPT))]


def is_closed(connection: Connection, session: int, approval_id: str) -> bool:
    """Return whether an approval has been put into a final state."""
    query = select(APPROVALS.c.status).where(APPROVALS.c.session == session, APPROVALS.c.id == approval_id)
    status = connection.execute(query).scalar_one_or_none()
    return status is not None and status != ApprovalStatus.PENDING


def decision_on(connection: Connection, session: int, approval_id: str) -> dict[str, Any] | None:
    """Return the decision on an approval; None if there is none, or no such approval any more."""
    query = select(APPROVALS.c.decision).where(APPROVALS.c.session == session, APPROVALS.c.id == approval_id)
    decision = connection.execute(query).scalar_one_or_none()
    return decision and msgspec.json.decode(decision)


def close(connection: Connection, row_id: int, status: ApprovalStatus, decision: object = None) -> None:
    """Put an approval into a final state, with the decision if there is one."""
    values = {"status": status, "decision": None if decision is None else msgspec.json.encode(decision)}
    connection.execute(update(APPROVALS).where(APPROVALS.c.row_id == row_id).values(values))


def _approval(row: Sequence[Any]) -> ApprovalRow:
    row_id, id_, run, run_id, thread_id, status, interrupt_id, request, decision, created_at, expires_at = row
    state = ApprovalStatus(status)
    if state is ApprovalStatus.PENDING and expires_at is not None and expires_at <= now_ms():
        state = ApprovalStatus.EXPIRED
    return ApprovalRow(
        row_id,
        id_,
        run,
        run_id,
        thread_id,
        state,
        interrupt_id,
        _decode_request(request),
        decision and msgspec.json.decode(decision),
        created_at,
        expires_at,
    )
