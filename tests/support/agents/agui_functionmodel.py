"""A scripted AG-UI agent on a foreign implementation of the protocol (pydantic-ai), with a model made of ifs.

The last user message says what happens: `slow N` sends N ticks 0.1 s apart, `fail` breaks off, `tool` calls a tool,
`delete NAME` asks for approval, `recall` repeats all that the user said, anything else is echoed word by word.
GET /active tells how many answers are under way.
"""

import asyncio
import re
from collections.abc import AsyncIterator

from pydantic_ai import Agent, DeferredToolRequests
from pydantic_ai.messages import ModelMessage, ModelRequest, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel
from pydantic_ai.ui.ag_ui import AGUIAdapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

active = 0


async def answer(messages: list[ModelMessage], _info: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
    global active  # noqa: PLW0603 - one process, one number
    active += 1
    try:
        async for part in script(messages):
            yield part
    finally:
        active -= 1


async def script(messages: list[ModelMessage]) -> AsyncIterator[str | DeltaToolCalls]:
    parts = [part for message in messages if isinstance(message, ModelRequest) for part in message.parts]
    said = [str(part.content) for part in parts if isinstance(part, UserPromptPart)]
    if isinstance(parts[-1], ToolReturnPart):
        yield f"The tool says: {parts[-1].content}"
    elif slow := re.match(r"slow (\d+)", said[-1]):
        for number in range(int(slow[1])):
            await asyncio.sleep(0.1)
            yield f"tick {number + 1} "
    elif said[-1] == "fail":
        yield "partial answer"
        raise RuntimeError("scripted failure")
    elif said[-1] == "tool":
        yield {0: DeltaToolCall(name="get_time", json_args='{"zone":"UTC"}', tool_call_id="tc1")}
    elif delete := re.match(r"delete (\S+)", said[-1]):
        yield {0: DeltaToolCall(name="delete_file", json_args=f'{{"name":"{delete[1]}"}}', tool_call_id="tc1")}
    elif said[-1] == "recall":
        yield " | ".join(said[:-1])
    else:
        for word in f"echo: {said[-1]}".split(" "):
            yield f"{word} "


agent = Agent(FunctionModel(stream_function=answer), output_type=[str, DeferredToolRequests])


@agent.tool_plain
def get_time(zone: str) -> str:
    return f"12:00 in {zone}"


@agent.tool_plain(requires_approval=True)
def delete_file(name: str) -> str:
    return f"deleted {name}"


async def run(request: Request) -> Response:
    return await AGUIAdapter.dispatch_request(request, agent=agent)


async def health(_request: Request) -> Response:
    return PlainTextResponse("ok")


async def count_active(_request: Request) -> Response:
    return PlainTextResponse(str(active))


app = Starlette(
    routes=[
        Route("/", run, methods=["POST"]),
        Route("/health", health),
        Route("/active", count_active),
    ]
)
