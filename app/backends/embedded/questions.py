"""What an agent asks within its turn: answered by the session's policy, or kept until a client answers."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection

from app.agents.events import event
from app.agents.port import DENIED, Answer, Question
from app.agui.splice import with_ids
from app.agui.times import rfc3339
from app.backends.embedded import approvals, events
from app.backends.embedded.approvals import ApprovalRow
from app.backends.embedded.bell import rung_before
from app.backends.embedded.clock import now_ms
from app.backends.embedded.database import Database
from app.backends.embedded.runs import RunRow
from app.errors import BadRequest, Detail, StorageUnavailable
from app.types import Approval, ApprovalAnswer, ApprovalOption, ApprovalPolicy, ApprovalStatus, Decision

MAX_QUESTIONS = 1000  # in one run
MAX_WAITING = 16  # at once; the next one is put when one of them is answered
MAX_BYTES = 1024 * 1024
MAX_DEPTH = 100  # of the arguments


class Asked(msgspec.Struct, frozen=True):
    """A question on its way into the store, with the event that tells of it; times in ms."""

    approval_id: str
    question: Question
    created_at: int
    expires_at: int
    event: bytes


class Asking(msgspec.Struct, frozen=True):
    """How a session answers: by its policy, or by whoever answers within `seconds`."""

    policy: ApprovalPolicy
    seconds: float


class Questions:
    """The questions of one run, which has to end within `limit` seconds.

    `put` hands a question in behind what the agent has said before; `refuse` ends a run that asks too much.
    """

    def __init__(
        self,
        database: Database,
        run: RunRow,
        asking: Asking,
        *,
        limit: float,
        put: Callable[[Asked], Awaitable[bool]],
        refuse: Callable[[], None],
    ) -> None:
        self._database = database
        self._run = run
        self._asking = asking
        self._put = put
        self._refuse = refuse
        self._count = 0
        self._room = asyncio.Semaphore(MAX_WAITING)
        self._deadline = now_ms() + round(limit * 1000)

    async def ask(self, question: Question) -> Answer:
        """The answer; a question that nobody answers in time is denied."""
        self._count += 1
        if self._count > MAX_QUESTIONS or not _fits(question):
            self._refuse()
            return DENIED
        if self._asking.policy is not ApprovalPolicy.ASK:
            return _choice(question, allowed=self._asking.policy is ApprovalPolicy.ALLOW)
        async with self._room:
            return await self._answered(question)

    async def _answered(self, question: Question) -> Answer:
        asked = self._asked(question)
        if not await self._put(asked):
            return DENIED
        end = asyncio.get_running_loop().time() + self._asking.seconds  # a run that ends before ends this too
        with self._database.bell.watch(self._run.session) as rung:
            while True:
                rung.clear()
                if self._is_closed(asked.approval_id) or not await rung_before(rung, end):
                    break
        outcome = partial(conclude, run=self._run, approval_id=asked.approval_id)
        return await self._database.write_at_last(outcome)

    def _is_closed(self, approval_id: str) -> bool:
        with suppress(StorageUnavailable):  # it is looked at again with the next news
            return self._database.read(partial(approvals.is_closed, session=self._run.session, approval_id=approval_id))
        return False

    def _asked(self, question: Question) -> Asked:
        now, approval_id = now_ms(), str(uuid.uuid4())
        expires_at = min(now + round(self._asking.seconds * 1000), self._deadline)
        shown = Approval(
            id=approval_id,
            run_id=self._run.run_id,
            status=ApprovalStatus.PENDING,
            created_at=rfc3339(now) or "",
            expires_at=rfc3339(expires_at),
            **msgspec.structs.asdict(question),
        )
        return Asked(approval_id, question, now, expires_at, event("CUSTOM", name="approval.requested", value=shown))


def keep(connection: Connection, run: RunRow, asked: Sequence[Asked]) -> None:
    """Store questions that a run under way has asked."""
    for each in asked:
        approvals.add(
            connection,
            approval_id=each.approval_id,
            session=run.session,
            run=run.number,
            question=each.question,
            interrupt_id=None,
            created_at=each.created_at,
            expires_at=each.expires_at,
        )


def respond(connection: Connection, session: int, approval: ApprovalRow, said: ApprovalAnswer) -> None:
    """Store a client's answer to a question that waits, and tell of it in the log; `BadRequest`."""
    answer = _given(approval.question, said)
    status = ApprovalStatus.ALLOWED if answer.allowed else ApprovalStatus.DENIED
    approvals.close(connection, approval.number, status, answer)
    events.append(connection, session, approval.run, [_resolved(approval, status, answer)])


def drop(connection: Connection, run: RunRow) -> list[bytes]:
    """Close what a run that ends still waits for; the events that tell of it."""
    left = approvals.questions_of(connection, run.number)
    for approval in left:
        approvals.close(connection, approval.number, ApprovalStatus.EXPIRED)
    return [_resolved(approval, ApprovalStatus.EXPIRED) for approval in left]


def conclude(connection: Connection, run: RunRow, approval_id: str) -> Answer:
    """What the agent is told of a question that was answered, or whose time is over: it is closed then."""
    for approval in approvals.questions_of(connection, run.number):
        if approval.id == approval_id:
            approvals.close(connection, approval.number, ApprovalStatus.EXPIRED)
            told = _resolved(approval, ApprovalStatus.EXPIRED)
            events.append(connection, run.session, run.number, [told])
            return _choice(approval.question, allowed=False)
    answer = approvals.answer_to(connection, run.session, approval_id)
    return DENIED if answer is None else msgspec.convert(answer, Answer)


def _fits(question: Question) -> bool:
    """Whether it is no more than can be kept and shown."""
    return _is_shallow(question.args, MAX_DEPTH) and len(msgspec.json.encode(question)) <= MAX_BYTES


def _is_shallow(value: Any, levels: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(each, levels - 1) for each in inside)


def _given(question: Question, said: ApprovalAnswer) -> Answer:
    """What a client has decided, by the option that it names or the least that fits."""
    allowed = said.decision is Decision.ALLOW
    given = dict(said.payload or {})
    option_id: Any = given.pop("option_id", None)
    if given:
        raise BadRequest(details=[Detail("body.payload", "may hold option_id and nothing else here")])
    if option_id is None:
        answer = _choice(question, allowed=allowed)
        if allowed and question.options is not None and answer.option_id is None:
            raise BadRequest(details=[Detail("body.decision", "is none that the agent offers")])
        return answer
    if not any(option.id == option_id and _allows(option) is allowed for option in question.options or []):
        raise BadRequest(
            details=[Detail("body.payload.option_id", "must be one of the approval's options that fit the decision")]
        )
    return Answer(allowed=allowed, option_id=option_id)


def _choice(question: Question, *, allowed: bool) -> Answer:
    """The least of the options that say so: what holds once goes before what holds always."""
    fitting = [option for option in question.options or [] if _allows(option) is allowed]
    least = min(fitting, key=lambda option: not (option.kind or "").endswith("_once"), default=None)
    return Answer(allowed=allowed, option_id=least.id if least else None)


def _allows(option: ApprovalOption) -> bool:
    return (option.kind or "").startswith("allow")


def _resolved(approval: ApprovalRow, status: ApprovalStatus, answer: Answer | None = None) -> bytes:
    value = {"id": approval.id, "status": status}
    if answer and answer.option_id is not None:
        value["option_id"] = answer.option_id
    raw = event("CUSTOM", name="approval.resolved", value=value)
    return with_ids(raw, approval.run_id, approval.thread_id, now_ms(), None)
