"""A scripted language model behind the APIs of its makers: a test double for agents that need a model.

The last message selects the response: `slow` streams ticks until the reader disconnects, `read NAME` and `write NAME`
call the tool that the agent offers for it, a tool's result is repeated, anything else is echoed word by word.

    /v1/chat/completions                        OpenAI's chat completions: opencode, Qwen Code
    /v1/responses                               OpenAI's responses: Codex
    /v1/messages                                Anthropic's: Claude Code
    /v1beta/models/MODEL:streamGenerateContent  Google's: Gemini CLI
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Json = dict[str, Any]

TICK_SECONDS = 0.05
TOKENS = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
_PATHS = ("filePath", "file_path", "absolute_path", "path")
_COMMANDS = ("exec_command", "shell_command", "shell")


class Tool(NamedTuple):
    """A tool that the agent offers, with the names of its parameters."""

    name: str
    parameters: Sequence[str]


class Call(NamedTuple):
    """A call of one of the agent's tools."""

    name: str
    arguments: Json


class Heard(NamedTuple):
    """A request: the model's name, the conversation as roles and texts, and the tools that are offered."""

    model: str
    conversation: list[tuple[str, str]]
    tools: list[Tool]


Deltas = AsyncIterator[str | Call]


class Model:
    """`app` is the server; `heard` has the model and the conversation of each request that offers tools."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, list[tuple[str, str]]]] = []
        self.other: list[str] = []
        """The requests for anything else."""
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", self._responder(_read_chat, _write_chat), methods=["POST"]),
                Route("/v1/responses", self._responder(_read_responses, _write_responses), methods=["POST"]),
                Route("/v1/messages", self._responder(_read_messages, _write_messages), methods=["POST"]),
                Route("/v1/messages/count_tokens", _count, methods=["POST"]),
                Route("/v1beta/models/{model}", self._responder(_read_contents, _write_contents), methods=["POST"]),
                Route("/{path:path}", self._nothing, methods=["GET", "POST", "HEAD"]),
            ]
        )

    def _responder(self, read: Callable[[Json], Heard], write: Callable[[str, Deltas], AsyncIterator[str]]) -> Any:
        async def respond(request: Request) -> Response:
            heard = read({"model": request.path_params.get("model", "").partition(":")[0], **await request.json()})
            if heard.tools:
                self.heard.append((heard.model, heard.conversation))
            return StreamingResponse(write(heard.model, _deltas(heard)), media_type="text/event-stream")

        return respond

    async def _nothing(self, request: Request) -> Response:
        self.other.append(f"{request.method} {request.url.path}")
        return JSONResponse({"data": [], "models": []})


async def _count(_request: Request) -> Response:
    return JSONResponse({"input_tokens": 10})


async def _deltas(heard: Heard) -> Deltas:
    role, text = _last(heard.conversation)
    text = re.sub(r"<([\w-]+)>.*?</\1>", "", text, flags=re.DOTALL)  # what agents add to a message
    command = (re.findall(r"^(slow|say .+|(?:read|write) \S+)$", text, re.MULTILINE) or [""])[-1]
    if role == "tool":
        yield f"The tool says: {text}"
    elif heard.tools and command == "slow":
        for number in range(10_000):
            yield f"tick {number} "
            await asyncio.sleep(TICK_SECONDS)
    elif (found := re.fullmatch(r"(read|write) (\S+)", command)) and heard.tools:
        yield _call(found[1], found[2], heard.tools)
    else:
        for word in f"echo: {text.strip()}".split(" "):
            yield f"{word} "


def _last(conversation: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Return the last tool's result, or else the texts of all messages since the last answer: agents add some."""
    texts: list[str] = []
    for role, text in reversed(conversation):
        if role == "tool":
            return role, text
        if role in {"assistant", "model"}:
            break
        if role == "user":
            texts.append(text)
    return "user", "\n".join(reversed(texts))


def _call(action: str, name: str, tools: Sequence[Tool]) -> Call:
    """Return the call of the tool that reads or writes a file of that name, or of a shell that writes it."""
    for tool in tools:
        if re.fullmatch(rf"{action}(_?file)?", tool.name, re.IGNORECASE):
            path = next(parameter for parameter in _PATHS if parameter in tool.parameters)
            return Call(tool.name, {path: name, **({"content": "written\n"} if action == "write" else {})})
    shell = next(tool for tool in tools if tool.name in _COMMANDS)
    command = f"echo written > {name}" if action == "write" else f"cat {name}"
    parameter = "cmd" if "cmd" in shell.parameters else "command"
    beyond = {"sandbox_permissions": "require_escalated", "justification": "To write a file"}
    asks = action == "write" and "sandbox_permissions" in shell.parameters
    words = ["sh", "-c", command] if shell.name == "shell" else command
    return Call(shell.name, {parameter: words, **(beyond if asks else {})})


def _event(data: Json, name: str = "") -> str:
    return (f"event: {name}\n" if name else "") + f"data: {json.dumps(data)}\n\n"


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return content or ""


# OpenAI's chat completions


def _read_chat(body: Json) -> Heard:
    functions = [tool["function"] for tool in body.get("tools") or []]
    tools = [Tool(each["name"], [*(each.get("parameters") or {}).get("properties", {})]) for each in functions]
    return Heard(body["model"], [(each["role"], _text(each["content"])) for each in body["messages"]], tools)


async def _write_chat(model: str, deltas: Deltas) -> AsyncIterator[str]:
    reason = "stop"
    async for delta in deltas:
        if isinstance(delta, Call):
            function = {"name": delta.name, "arguments": json.dumps(delta.arguments)}
            yield _chunk(
                model,
                {"tool_calls": [{"index": 0, "id": f"call_{uuid4().hex}", "type": "function", "function": function}]},
            )
            reason = "tool_calls"
        else:
            yield _chunk(model, {"content": delta})
    yield _chunk(model, {}, finish_reason=reason, usage=TOKENS)
    yield "data: [DONE]\n\n"


def _chunk(model: str, delta: Json, finish_reason: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": finish_reason}
    return _event(
        {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice], **more}
    )


# OpenAI's responses


def _read_responses(body: Json) -> Heard:
    conversation: list[tuple[str, str]] = []
    for item in body["input"]:
        if item.get("type", "message") == "message":
            conversation.append((item["role"], _text(item["content"])))
        elif item["type"] in {"function_call_output", "custom_tool_call_output"}:
            conversation.append(("tool", _text(item["output"])))
    tools = [
        Tool(tool["name"], [*(tool.get("parameters") or {}).get("properties", {})])
        for tool in body.get("tools") or []
        if tool.get("type") == "function"
    ]
    return Heard(body["model"], conversation, tools)


async def _write_responses(model: str, deltas: Deltas) -> AsyncIterator[str]:
    response: Json = {"id": "resp_1", "object": "response", "model": model, "status": "in_progress", "output": []}
    yield _event({"type": "response.created", "response": response}, "response.created")
    text = ""
    item: Json = {"id": "m1", "type": "message", "role": "assistant", "content": []}
    async for delta in deltas:
        if isinstance(delta, Call):
            item = {"id": "f1", "type": "function_call", "call_id": f"call_{uuid4().hex}", "name": delta.name}
            item["arguments"] = json.dumps(delta.arguments)
            continue
        if not text:
            yield _event(
                {"type": "response.output_item.added", "output_index": 0, "item": item}, "response.output_item.added"
            )
        text += delta
        part = {"item_id": "m1", "output_index": 0, "content_index": 0, "delta": delta}
        yield _event({"type": "response.output_text.delta", **part}, "response.output_text.delta")
    if item["type"] == "message":
        item["content"] = [{"type": "output_text", "text": text, "annotations": []}]
    yield _event({"type": "response.output_item.done", "output_index": 0, "item": item}, "response.output_item.done")
    tokens = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    done = {**response, "status": "completed", "output": [item], "usage": tokens}
    yield _event({"type": "response.completed", "response": done}, "response.completed")


# Anthropic's messages


def _read_messages(body: Json) -> Heard:
    conversation: list[tuple[str, str]] = []
    for message in body["messages"]:
        parts = (
            message["content"]
            if isinstance(message["content"], list)
            else [{"type": "text", "text": message["content"]}]
        )
        results = [part for part in parts if part["type"] == "tool_result"]
        if results:
            conversation.append(("tool", _text(results[-1].get("content"))))
        else:
            conversation.append((message["role"], _text(parts)))
    tools = [
        Tool(tool["name"], [*tool["input_schema"].get("properties", {})])
        for tool in body.get("tools") or []
        if "input_schema" in tool
    ]
    return Heard(body["model"], conversation, tools)


async def _write_messages(model: str, deltas: Deltas) -> AsyncIterator[str]:
    tokens = {"input_tokens": 10, "output_tokens": 0}
    start = {
        "id": f"msg_{uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "usage": tokens,
    }
    yield _event(
        {"type": "message_start", "message": {**start, "stop_reason": None, "stop_sequence": None}}, "message_start"
    )
    reason, begun = "end_turn", False
    async for delta in deltas:
        if isinstance(delta, Call):
            reason = "tool_use"
            block: Json = {"type": "tool_use", "id": f"toolu_{uuid4().hex}", "name": delta.name, "input": {}}
            part: Json = {"type": "input_json_delta", "partial_json": json.dumps(delta.arguments)}
        else:
            block, part = {"type": "text", "text": ""}, {"type": "text_delta", "text": delta}
        if not begun:
            yield _event({"type": "content_block_start", "index": 0, "content_block": block}, "content_block_start")
            begun = True
        yield _event({"type": "content_block_delta", "index": 0, "delta": part}, "content_block_delta")
    yield _event({"type": "content_block_stop", "index": 0}, "content_block_stop")
    end = {"delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": 5}}
    yield _event({"type": "message_delta", **end}, "message_delta")
    yield _event({"type": "message_stop"}, "message_stop")


# Google's contents


def _read_contents(body: Json) -> Heard:
    conversation: list[tuple[str, str]] = []
    for content in body["contents"]:
        parts = content.get("parts") or []
        results = [part["functionResponse"] for part in parts if "functionResponse" in part]
        if results:
            conversation.append(("tool", json.dumps(results[-1].get("response"))))
        else:
            conversation.append((content.get("role", "user"), _text(parts)))
    declared = [each for tool in body.get("tools") or [] for each in tool.get("functionDeclarations") or []]
    tools = [
        Tool(each["name"], [*(each.get("parametersJsonSchema") or each.get("parameters") or {}).get("properties", {})])
        for each in declared
    ]
    return Heard(body["model"], conversation, tools)


async def _write_contents(model: str, deltas: Deltas) -> AsyncIterator[str]:
    async for delta in deltas:
        part = (
            {"functionCall": {"name": delta.name, "args": delta.arguments}}
            if isinstance(delta, Call)
            else {"text": delta}
        )
        yield _event(
            {"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}], "modelVersion": model}
        )
    tokens = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
    end = {"content": {"role": "model", "parts": [{"text": ""}]}, "finishReason": "STOP", "index": 0}
    yield _event({"candidates": [end], "usageMetadata": tokens, "modelVersion": model})
