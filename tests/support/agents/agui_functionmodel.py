"""A scripted AG-UI agent on another implementation of the protocol (pydantic-ai): a test double.

The last user message selects the response: `slow N` sends N ticks 0.1 s apart, `fail` fails after some text, `tool`
calls a tool, `delete NAME` needs an approval, `recall` repeats the earlier user messages, anything else is echoed word
by word. GET /active returns how many responses are being made.
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


async def respond(messages: list[ModelMessage], _info: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
    global active  # noqa: PLW0603 - one process, one number
    active += 1
    try:
        async for part in script(messages):
            yield part
    finally:
        active -= 1


async def script(messages: list[ModelMessage]) -> AsyncIterator[str | DeltaToolCalls]:
    parts = [part for message in messages if isinstance(message, ModelRequest) for part in message.parts]
    user_texts = [str(part.content) for part in parts if isinstance(part, UserPromptPart)]
    if isinstance(parts[-1], ToolReturnPart):
        yield f"The tool says: {parts[-1].content}"
    elif slow := re.match(r"slow (\d+)", user_texts[-1]):
        for number in range(int(slow[1])):
            await asyncio.sleep(0.1)
            yield f"tick {number + 1} "
    elif user_texts[-1] == "fail":
        yield "partial answer"
        raise RuntimeError("scripted failure")
    elif user_texts[-1] == "tool":
        yield {0: DeltaToolCall(name="get_time", json_args='{"zone":"UTC"}', tool_call_id="tc1")}
    elif delete := re.match(r"delete (\S+)", user_texts[-1]):
        yield {0: DeltaToolCall(name="delete_file", json_args=f'{{"name":"{delete[1]}"}}', tool_call_id="tc1")}
    elif user_texts[-1] == "recall":
        yield " | ".join(user_texts[:-1])
    else:
        for word in f"echo: {user_texts[-1]}".split(" "):
            yield f"{word} "


agent = Agent(FunctionModel(stream_function=respond), output_type=[str, DeferredToolRequests])


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
