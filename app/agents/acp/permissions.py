"""What an ACP agent asks before it calls a tool, in the words of our port, and the answers in its own."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
from acp import schema

from app.agents.port import RequestApproval
from app.models.approvals import DENIED, ApprovalDecision, ApprovalOption, ApprovalRequest

_SELECTED: Literal["selected"] = "selected"
_CANCELLED: Literal["cancelled"] = "cancelled"
_ENDED = {"completed", "failed"}
_CALLS = schema.ToolCallStart | schema.ToolCallUpdate

log = logging.getLogger(__name__)


class Request(msgspec.Struct, frozen=True):
    """A question that the agent waits with; `answer` is set once there is one."""

    call: schema.ToolCallUpdate
    options: Sequence[schema.PermissionOption]
    answer: "asyncio.Future[ApprovalDecision]"


class Permissions:
    """The questions of one turn, which goes on meanwhile.

    They go through `heard`, behind what the agent has said before; who takes them there hands them to `put`.
    """

    def __init__(self, ask: RequestApproval, heard: Callable[[Request], None]) -> None:
        self._ask = ask
        self._heard = heard
        self._calls: dict[str, dict[str, Any]] = {}
        self._waiting: set[asyncio.Future[ApprovalDecision]] = set()
        self._asking: set[asyncio.Task[None]] = set()

    async def request(
        self, call: schema.ToolCallUpdate, options: Sequence[schema.PermissionOption]
    ) -> schema.RequestPermissionResponse:
        """What the agent is told once there is an answer, or the turn has ended."""
        answer: asyncio.Future[ApprovalDecision] = asyncio.get_running_loop().create_future()
        self._waiting.add(answer)
        try:
            self._heard(Request(call, options, answer))
            return response(await answer)
        finally:
            self._waiting.discard(answer)

    def observe(self, update: Any) -> None:
        """Take what the agent says of a tool call: a question about it may say no more than its id."""
        if not isinstance(update, _CALLS):
            return
        if update.status in _ENDED:
            self._calls.pop(update.tool_call_id, None)
        else:
            self._calls[update.tool_call_id] = self._known(update)

    def put(self, request: Request) -> None:
        """RequestApproval, and let the answer go its way."""
        task = asyncio.create_task(self._put(request))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def close(self) -> None:
        """Ask nothing any more; who waits for an answer is denied."""
        for task in self._asking:
            task.cancel()
        for answer in self._waiting:
            if not answer.done():
                answer.set_result(DENIED)

    async def _put(self, request: Request) -> None:
        answer = DENIED
        try:
            answer = await self._ask(self._question(request))
        except Exception:
            log.exception("a question of an agent could not be put")
        finally:
            if not request.answer.done():
                request.answer.set_result(answer)

    def _known(self, call: schema.ToolCallStart | schema.ToolCallUpdate) -> dict[str, Any]:
        shown = call.model_dump(mode="json", by_alias=True, exclude_none=True, include={"content", "locations"})
        said = {"title": call.title, "kind": call.kind, "input": call.raw_input, **shown}
        before = self._calls.get(call.tool_call_id, {})
        return before | {name: value for name, value in said.items() if value}

    def _question(self, request: Request) -> ApprovalRequest:
        """The arguments are the tool's input; where the agent does not tell it, what it shows, such as a diff."""
        known = self._known(request.call)
        shown = {name: known[name] for name in ("content", "locations") if name in known}
        return ApprovalRequest(
            message=known.get("title"),
            tool_name=known.get("kind"),
            args=known.get("input") or shown or None,
            options=[ApprovalOption(id=each.option_id, name=each.name, kind=each.kind) for each in request.options],
        )


def response(answer: ApprovalDecision) -> schema.RequestPermissionResponse:
    """An answer in the agent's words; without an option of its own it is told that nobody has answered."""
    if answer.option_id is None:
        return schema.RequestPermissionResponse(outcome=schema.DeniedOutcome(outcome=_CANCELLED))
    chosen = schema.AllowedOutcome(outcome=_SELECTED, option_id=answer.option_id)
    return schema.RequestPermissionResponse(outcome=chosen)
