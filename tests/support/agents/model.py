"""A scripted language model behind the OpenAI chat completions API: a test double for agents that need a model.

The last message selects the response: `slow` streams ticks until the reader disconnects, `read NAME` and `write NAME`
call the agent's tools of that name, a tool's result is repeated, anything else is echoed word by word.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

TICK_SECONDS = 0.05
TOKENS = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


class Model:
    """`app` is the server; `heard` has the requests that offer tools: the model's name and the conversation of each."""

    def __init__(self) -> None:
        self.app = Starlette(routes=[Route("/v1/chat/completions", self._respond, methods=["POST"])])
        self.heard: list[tuple[str, list[tuple[str, str]]]] = []

    async def _respond(self, request: Request) -> StreamingResponse:
        body = await request.json()
        conversation = [(message["role"], _text(message["content"])) for message in body["messages"]]
        if body.get("tools"):
            self.heard.append((body["model"], conversation))
        return StreamingResponse(_stream(body["model"], *conversation[-1]), media_type="text/event-stream")


async def _stream(model: str, role: str, text: str) -> AsyncIterator[str]:
    reason = "stop"
    if role == "tool":
        yield _chunk(model, {"content": f"The tool says: {text}"})
    elif re.search(r"\bslow\b", text):
        for number in range(10_000):
            yield _chunk(model, {"content": f"tick {number} "})
            await asyncio.sleep(TICK_SECONDS)
    elif found := re.search(r"\b(read|write) (\S+)", text):
        arguments = {"filePath": found[2], **({"content": "written\n"} if found[1] == "write" else {})}
        call = {"index": 0, "id": "call_1", "type": "function"}
        call["function"] = {"name": found[1], "arguments": json.dumps(arguments)}
        yield _chunk(model, {"tool_calls": [call]})
        reason = "tool_calls"
    else:
        for word in f"echo: {text}".split(" "):
            yield _chunk(model, {"content": f"{word} "})
    yield _chunk(model, {}, finish_reason=reason, usage=TOKENS)
    yield "data: [DONE]\n\n"


def _chunk(model: str, delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": finish_reason}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice], **more}
    return f"data: {json.dumps(chunk)}\n\n"


def _text(content: str | list[dict[str, Any]] | None) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""
