"""Permissions that an ACP agent requests before it calls a tool, as approvals of the port.

A request goes into the turn's update queue first, so that clients see it after the updates that the agent sent before.
The turn takes it from there and hands it to `Permissions.submit`, which waits for the decision beside the turn.
A request may name a tool call by its id alone, so `observe` collects what earlier updates said about each call.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog
from acp import schema

from app.agents.port import RequestApproval
from app.models.approvals import DENIED, ApprovalDecision, ApprovalOption, ApprovalRequest

_FINAL_STATUSES = {"completed", "failed"}
_ToolCall = schema.ToolCallStart | schema.ToolCallUpdate

log = structlog.get_logger()


class PermissionRequest(msgspec.Struct, frozen=True):
    """A request of the agent, which waits until `decision` is set."""

    call: schema.ToolCallUpdate
    options: Sequence[schema.PermissionOption]
    decision: "asyncio.Future[ApprovalDecision]"


class Permissions:
    """The permission requests of one turn; `enqueue` puts one among the turn's updates."""

    def __init__(self, request_approval: RequestApproval, enqueue: Callable[[PermissionRequest], None]) -> None:
        self._request_approval = request_approval
        self._enqueue = enqueue
        self._calls: dict[str, dict[str, Any]] = {}
        self._undecided: set[asyncio.Future[ApprovalDecision]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def request(
        self, call: schema.ToolCallUpdate, options: Sequence[schema.PermissionOption]
    ) -> schema.RequestPermissionResponse:
        """Return the response to a request of the agent, once it is decided or the turn has ended."""
        decision: asyncio.Future[ApprovalDecision] = asyncio.get_running_loop().create_future()
        self._undecided.add(decision)
        try:
            self._enqueue(PermissionRequest(call, options, decision))
            return to_response(await decision)
        finally:
            self._undecided.discard(decision)

    def observe(self, update: Any) -> None:
        """Remember what an update says about a tool call that has not ended."""
        if not isinstance(update, _ToolCall):
            return
        if update.status in _FINAL_STATUSES:
            self._calls.pop(update.tool_call_id, None)
        else:
            self._calls[update.tool_call_id] = self._details(update)

    def submit(self, request: PermissionRequest, call_id: str | None) -> None:
        """Request the approval and pass on the decision; do not wait for it. `call_id` is the call's id in the log."""
        task = asyncio.create_task(self._decide(request, call_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Withdraw the approvals and deny what is undecided."""
        for task in self._tasks:
            task.cancel()
        for decision in self._undecided:
            if not decision.done():
                decision.set_result(DENIED)

    async def _decide(self, request: PermissionRequest, call_id: str | None) -> None:
        decision = DENIED
        try:
            decision = await self._request_approval(self._to_approval(request, call_id))
        except Exception:
            log.exception("approval_request_failed")
        finally:
            if not request.decision.done():
                request.decision.set_result(decision)

    def _to_approval(self, request: PermissionRequest, call_id: str | None) -> ApprovalRequest:
        """Return the approval: its args are the tool's input, or else what the call shows, such as a diff."""
        details = self._details(request.call)
        shown = {name: details[name] for name in ("content", "locations") if name in details}
        return ApprovalRequest(
            message=details.get("title"),
            tool_call_id=call_id,
            tool_name=details.get("kind"),
            args=details.get("input") or shown or None,
            options=[
                ApprovalOption(id=option.option_id, name=option.name, kind=option.kind) for option in request.options
            ],
        )

    def _details(self, call: _ToolCall) -> dict[str, Any]:
        """Return what is known about a call with what `call` adds."""
        shown = call.model_dump(mode="json", by_alias=True, exclude_none=True, include={"content", "locations"})
        new = {"title": call.title, "kind": call.kind, "input": call.raw_input, **shown}
        earlier = self._calls.get(call.tool_call_id, {})
        return earlier | {name: value for name, value in new.items() if value}


def to_response(decision: ApprovalDecision) -> schema.RequestPermissionResponse:
    """Return a decision as the protocol's outcome: one of the agent's options, or "cancelled" if it offered none."""
    if decision.option_id is None:
        return schema.RequestPermissionResponse(outcome=schema.DeniedOutcome(outcome="cancelled"))
    chosen = schema.AllowedOutcome(outcome="selected", option_id=decision.option_id)
    return schema.RequestPermissionResponse(outcome=chosen)
