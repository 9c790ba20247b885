"""Approvals within a turn: decided by the session's policy, or stored until a client decides or the time is over.

An approval takes the same way as the agent's events, through the run's `EventBuffer`, so that clients see it after
all that the agent did before. It is stored as pending together with the event `approval.requested`. The agent then
waits for the row to be closed, by a client's decision, by the end of its run, or here when nobody has decided in time.
The row alone says how it was decided: what clients read is what the agent gets.
"""

import asyncio
import uuid
from collections.abc import Callable
from contextlib import suppress

import msgspec

from app.agui.events import encode_event
from app.clock import now_ms, rfc3339
from app.engine.event_buffer import CancelReason, EventBuffer
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
MAX_WAITING = 16  # at once; another one is stored when one of them is closed
MAX_APPROVAL_BYTES = 1024 * 1024
MAX_DEPTH = 100  # of the arguments


class ApprovalRules(msgspec.Struct, frozen=True):
    """How approvals are decided: by `policy`, or by a client within `timeout` seconds and before `deadline` (ms)."""

    policy: ApprovalPolicy
    timeout: float
    deadline: int


class ApprovalBroker:
    """The approvals of one run; a run that requests too many, or too large ones, is cancelled.

    `log` gets a line for each request that is denied, with the reason.
    """

    def __init__(
        self,
        database: Database,
        run: RunRow,
        buffer: EventBuffer,
        rules: ApprovalRules,
        log: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._log = log
        self._database = database
        self._run = run
        self._buffer = buffer
        self._rules = rules
        self._count = 0
        self._waiting = asyncio.Semaphore(MAX_WAITING)

    async def request(self, request: ApprovalRequest) -> ApprovalDecision:
        """Return the decision; a request that nobody decides in time is denied."""
        self._count += 1
        if self._count > MAX_APPROVALS or not _is_acceptable(request):
            self._buffer.close(CancelReason.TOO_MANY_APPROVALS)
            self._log_denial(request, "the agent requests too many or too large ones")
            return DENIED
        if self._rules.policy is ApprovalPolicy.DENY:
            self._log_denial(request, "the session's approval_policy is deny")
        if self._rules.policy is not ApprovalPolicy.ASK:
            return choose_option(request, allowed=self._rules.policy is ApprovalPolicy.ALLOW)
        async with self._waiting:
            return await self._wait_for_decision(request)

    async def _wait_for_decision(self, request: ApprovalRequest) -> ApprovalDecision:
        pending = self._pending(request)
        if not await self._buffer.put(pending):
            self._log_denial(request, "the run is ending")
            return DENIED
        deadline = asyncio.get_running_loop().time() + self._rules.timeout  # the end of the run closes it before
        with self._database.notifier.subscribe(self._run.session) as changed:
            decision = None
            while decision is None:
                changed.clear()
                is_closed = await self._is_closed(pending.id)
                if not is_closed and await notified_before(changed, deadline):
                    continue
                decision = await self._database.write_until_stored(collect_decision, self._run, pending.id)
                if decision is None:  # the time was over before the approval could be stored
                    await changed.wait()
        if not decision.allowed:
            self._log_denial(request, "a client denied it" if is_closed else "nobody has decided in time")
        return decision

    def _log_denial(self, request: ApprovalRequest, reason: str) -> None:
        self._log(f"denied {request.message or request.tool_name or 'a request'}: {reason}")

    async def _is_closed(self, approval_id: str) -> bool:
        with suppress(StorageUnavailable):  # looked up again with the next change
            return await self._database.read(approvals.is_closed, self._run.session, approval_id)
        return False

    def _pending(self, request: ApprovalRequest) -> PendingApproval:
        now, approval_id = now_ms(), str(uuid.uuid4())
        expires_at = min(now + round(self._rules.timeout * 1000), self._rules.deadline)
        shown = Approval(
            id=approval_id,
            run_id=self._run.run_id,
            status=ApprovalStatus.PENDING,
            created_at=rfc3339(now) or "",
            expires_at=rfc3339(expires_at),
            **msgspec.structs.asdict(request),
        )
        event = encode_event("CUSTOM", name="approval.requested", value=shown)
        return PendingApproval(approval_id, request, now, expires_at, event)


def _is_acceptable(request: ApprovalRequest) -> bool:
    """Return whether a request can be stored and shown."""
    return not depth_exceeds(request.args, MAX_DEPTH) and len(msgspec.json.encode(request)) <= MAX_APPROVAL_BYTES
