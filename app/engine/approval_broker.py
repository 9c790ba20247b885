"""What an agent asks within its turn: answered by the session's policy, or kept until a client answers."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec

from app.agui.events import encode_event
from app.agui.times import rfc3339
from app.clock import now_ms
from app.errors import StorageUnavailable
from app.models.approvals import DENIED, Approval, ApprovalDecision, ApprovalPolicy, ApprovalRequest, ApprovalStatus
from app.models.wire import depth_exceeds
from app.store import approvals
from app.store.approvals import PendingApproval
from app.store.commands.approvals import choose_option, collect_decision
from app.store.database import Database
from app.store.notifier import notified_before
from app.store.runs import RunRow

MAX_APPROVALS = 1000  # in one run
MAX_WAITING = 16  # at once; the next one is put when one of them is answered
MAX_APPROVAL_BYTES = 1024 * 1024
MAX_DEPTH = 100  # of the arguments


class ApprovalRules(msgspec.Struct, frozen=True):
    """How a session answers: by its policy, or by whoever answers within `seconds`."""

    policy: ApprovalPolicy
    seconds: float


class ApprovalBroker:
    """The questions of one run, which has to end within `limit` seconds.

    `put` hands a question in behind what the agent has said before; `refuse` ends a run that asks too much.
    """

    def __init__(
        self,
        database: Database,
        run: RunRow,
        asking: ApprovalRules,
        *,
        limit: float,
        put: Callable[[PendingApproval], Awaitable[bool]],
        refuse: Callable[[], None],
    ) -> None:
        self._database = database
        self._run = run
        self._rules = asking
        self._put = put
        self._refuse = refuse
        self._count = 0
        self._room = asyncio.Semaphore(MAX_WAITING)
        self._deadline = now_ms() + round(limit * 1000)

    async def request(self, question: ApprovalRequest) -> ApprovalDecision:
        """The answer; a question that nobody answers in time is denied."""
        self._count += 1
        if self._count > MAX_APPROVALS or not _fits(question):
            self._refuse()
            return DENIED
        if self._rules.policy is not ApprovalPolicy.ASK:
            return choose_option(question, allowed=self._rules.policy is ApprovalPolicy.ALLOW)
        async with self._room:
            return await self._wait_for_decision(question)

    async def _wait_for_decision(self, question: ApprovalRequest) -> ApprovalDecision:
        asked = self._pending(question)
        if not await self._put(asked):
            return DENIED
        end = asyncio.get_running_loop().time() + self._rules.seconds  # a run that ends before ends this too
        with self._database.notifier.subscribe(self._run.session) as rung:
            while True:
                rung.clear()
                if await self._is_closed(asked.id) or not await notified_before(rung, end):
                    break
        return await self._database.write_until_stored(collect_decision, self._run, asked.id)

    async def _is_closed(self, approval_id: str) -> bool:
        with suppress(StorageUnavailable):  # it is looked at again with the next news
            return await self._database.read(approvals.is_closed, self._run.session, approval_id)
        return False

    def _pending(self, question: ApprovalRequest) -> PendingApproval:
        now, approval_id = now_ms(), str(uuid.uuid4())
        expires_at = min(now + round(self._rules.seconds * 1000), self._deadline)
        shown = Approval(
            id=approval_id,
            run_id=self._run.run_id,
            status=ApprovalStatus.PENDING,
            created_at=rfc3339(now) or "",
            expires_at=rfc3339(expires_at),
            **msgspec.structs.asdict(question),
        )
        return PendingApproval(
            approval_id, question, now, expires_at, encode_event("CUSTOM", name="approval.requested", value=shown)
        )


def _fits(question: ApprovalRequest) -> bool:
    """Whether it is no more than can be kept and shown."""
    return not depth_exceeds(question.args, MAX_DEPTH) and len(msgspec.json.encode(question)) <= MAX_APPROVAL_BYTES
