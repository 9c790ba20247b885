"""The SQL of approvals: what agents ask, and what was answered."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Integer, bindparam, func, insert, select, update

from app.agui.times import rfc3339
from app.clock import now_ms
from app.errors import ApprovalNotFound
from app.models.approvals import Approval, ApprovalRequest, ApprovalStatus
from app.store.statements import Statement
from app.store.tables import APPROVALS, RUNS

_decode_question = msgspec.json.Decoder(ApprovalRequest).decode


class ApprovalRow(msgspec.Struct, frozen=True):
    """An approval as the store knows it; times in ms.

    A question that ended its run has an `interrupt_id`, the agent's name for it, and its `answer` is an entry of
    AG-UI's `resume`; one within a turn has none, and its `answer` is an `Answer`.
    """

    row_id: int
    id: str
    run: int
    run_id: str
    thread_id: str
    status: ApprovalStatus
    interrupt_id: str | None
    question: ApprovalRequest
    answer: dict[str, Any] | None
    created_at: int
    expires_at: int | None

    def public(self) -> Approval:
        """What a client sees."""
        return Approval(
            id=self.id,
            run_id=self.run_id,
            status=self.status,
            created_at=rfc3339(self.created_at) or "",
            expires_at=rfc3339(self.expires_at),
            **msgspec.structs.asdict(self.question),
        )


_COLUMNS = (
    APPROVALS.c.number,
    APPROVALS.c.id,
    APPROVALS.c.run,
    RUNS.c.run_id,
    RUNS.c.thread_id,
    APPROVALS.c.status,
    APPROVALS.c.interrupt_id,
    APPROVALS.c.question,
    APPROVALS.c.answer,
    APPROVALS.c.created_at,
    APPROVALS.c.expires_at,
)
_ENDED_ITS_RUN = APPROVALS.c.interrupt_id.is_not(None)


def _waits(now: Any) -> ColumnElement[bool]:
    in_time = func.coalesce(APPROVALS.c.expires_at > now, True)
    return (APPROVALS.c.status == ApprovalStatus.PENDING) & in_time


def _rows(*conditions: ColumnElement[bool]) -> Any:
    return (
        select(*_COLUMNS).join(RUNS, RUNS.c.number == APPROVALS.c.run).where(*conditions).order_by(APPROVALS.c.number)
    )


_ASKED = func.json_each(bindparam("sessions")).table_valued("value")
_WAITING = Statement(
    select(APPROVALS.c.session, APPROVALS.c.id)
    .where(APPROVALS.c.session.in_(select(_ASKED.c.value)), _waits(bindparam("now", type_=Integer)))
    .order_by(APPROVALS.c.number)
)
_QUESTIONS = Statement(
    _rows(APPROVALS.c.run == bindparam("run_number"), APPROVALS.c.status == ApprovalStatus.PENDING, ~_ENDED_ITS_RUN)
)
_PENDING = Statement(_rows(APPROVALS.c.session == bindparam("session_number"), _waits(bindparam("now", type_=Integer))))


def add(
    connection: Connection,
    *,
    approval_id: str,
    session: int,
    run: int,
    question: ApprovalRequest,
    interrupt_id: str | None,
    created_at: int,
    expires_at: int | None,
) -> None:
    """A new approval that waits for its answer."""
    values = {
        "id": approval_id,
        "session": session,
        "run": run,
        "status": ApprovalStatus.PENDING,
        "interrupt_id": interrupt_id,
        "question": msgspec.json.encode(question),
        "created_at": created_at,
        "expires_at": expires_at,
    }
    connection.execute(insert(APPROVALS), values)


def find(connection: Connection, session: int, approval_id: str) -> ApprovalRow:
    """The approval of that session; `ApprovalNotFound`."""
    query = _rows(APPROVALS.c.session == session, APPROVALS.c.id == approval_id)
    if row := connection.execute(query).one_or_none():
        return _approval(row)
    raise ApprovalNotFound


def pending(connection: Connection, session: int) -> list[ApprovalRow]:
    """Those of a session that wait for an answer, oldest first."""
    return [_approval(row) for row in _PENDING(connection, session_number=session, now=now_ms())]


def waiting(connection: Connection, sessions: Iterable[int]) -> dict[int, list[str]]:
    """The ids of what waits for an answer, by session, oldest first."""
    found: dict[int, list[str]] = {}
    for session, approval_id in _WAITING(
        connection, sessions=msgspec.json.encode(list(sessions)).decode(), now=now_ms()
    ):
        found.setdefault(session, []).append(approval_id)
    return found


def interrupts_of(connection: Connection, run: int) -> list[ApprovalRow]:
    """All interrupts with which a run has ended."""
    return [_approval(row) for row in connection.execute(_rows(APPROVALS.c.run == run, _ENDED_ITS_RUN))]


def questions_of(connection: Connection, run: int) -> list[ApprovalRow]:
    """What a run has asked within its turn and nobody has answered, whether in time or not."""
    return [_approval(row) for row in _QUESTIONS(connection, run_number=run)]


def is_closed(connection: Connection, session: int, approval_id: str) -> bool:
    """Whether an approval has been put into a final state."""
    query = select(APPROVALS.c.status).where(APPROVALS.c.session == session, APPROVALS.c.id == approval_id)
    status = connection.execute(query).scalar_one_or_none()
    return status is not None and status != ApprovalStatus.PENDING


def open_interrupts(connection: Connection, session: int, thread_id: str) -> list[ApprovalRow]:
    """The interrupts of a thread that nobody has answered, whether in time or not."""
    query = _rows(
        APPROVALS.c.session == session,
        APPROVALS.c.status == ApprovalStatus.PENDING,
        RUNS.c.thread_id == thread_id,
        _ENDED_ITS_RUN,
    )
    return [_approval(row) for row in connection.execute(query)]


def answer_to(connection: Connection, session: int, approval_id: str) -> dict[str, Any] | None:
    """What the agent is told of an approval; None if it is not answered, or gone."""
    query = select(APPROVALS.c.answer).where(APPROVALS.c.session == session, APPROVALS.c.id == approval_id)
    answer = connection.execute(query).scalar_one_or_none()
    return answer and msgspec.json.decode(answer)


def close(connection: Connection, number: int, status: ApprovalStatus, answer: object = None) -> None:
    """Put an approval into a final state."""
    values = {"status": status, "answer": None if answer is None else msgspec.json.encode(answer)}
    connection.execute(update(APPROVALS).where(APPROVALS.c.number == number).values(values))


def _approval(row: Sequence[Any]) -> ApprovalRow:
    number, id_, run, run_id, thread_id, status, interrupt_id, question, answer, created_at, expires_at = row
    state = ApprovalStatus(status)
    if state is ApprovalStatus.PENDING and expires_at is not None and expires_at <= now_ms():
        state = ApprovalStatus.EXPIRED
    return ApprovalRow(
        number,
        id_,
        run,
        run_id,
        thread_id,
        state,
        interrupt_id,
        _decode_question(question),
        answer and msgspec.json.decode(answer),
        created_at,
        expires_at,
    )
