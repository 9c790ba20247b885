"""Faults that a server of this API may have, planted between a right one and its clients."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass
class Request:
    """A request that a fault may change before it reaches the server."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: MutableHeaders
    body: bytes


@dataclass
class Response:
    """A response that a fault may change before it reaches the client. `value` is the decoded JSON."""

    status: int
    headers: MutableHeaders
    value: Any


@dataclass(frozen=True)
class Fault:
    """One fault, and the rule that has to find it."""

    name: str
    rule: str
    request: Callable[[Request], None] | None = None
    answer: Callable[[Request], Response | None] | None = None
    response: Callable[[Request, Response], None] | None = None
    frames: Callable[[list[bytes]], Iterator[bytes]] | None = None
    """Changes the frames of a stream, which are held until it has ended."""


@dataclass
class Faulty:
    """An application with a fault."""

    app: ASGIApp
    fault: Fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(
            scope["method"],
            scope["path"],
            parse_qsl(scope["query_string"].decode(), keep_blank_values=True),
            MutableHeaders(raw=[(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]),
            await _body(receive),
        )
        if self.fault.request:
            self.fault.request(request)
        if self.fault.answer and (made_up := self.fault.answer(request)):
            await _send(send, made_up)
            return
        request.headers["content-length"] = str(len(request.body))
        changed = {**scope, "headers": request.headers.raw, "query_string": urlencode(request.query).encode()}
        await self.app(changed, _once(request.body, receive), _Sender(self.fault, request, send).send)


class _Sender:
    def __init__(self, fault: Fault, request: Request, send: Send) -> None:
        self._fault, self._request, self._send = fault, request, send
        self._start: Message = {}
        self._body = b""

    async def send(self, message: Message) -> None:
        """Take one message of the application."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        kind = Headers(raw=self._start["headers"]).get("content-type", "")
        is_stream = kind.startswith("text/event-stream")
        if is_stream and not self._fault.frames:
            if self._start["type"] != "sent":
                await self._send(self._start)
                self._start = {"type": "sent", "headers": self._start["headers"]}
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        if is_stream and self._fault.frames:
            whole = [part for part in self._body.split(b"\n\n") if part]
            await self._send(self._start)
            for frame in self._fault.frames(whole):
                await self._send({"type": "http.response.body", "body": frame + b"\n\n", "more_body": True})
            await self._send({"type": "http.response.body", "body": b""})
            return
        is_json = kind == "application/json" and self._body
        headers = MutableHeaders(raw=list(self._start["headers"]))
        response = Response(self._start["status"], headers, json.loads(self._body) if is_json else None)
        if self._fault.response:
            self._fault.response(self._request, response)
        await _send(self._send, response, None if is_json else self._body)


async def _send(send: Send, response: Response, body: bytes | None = None) -> None:
    if body is None:
        body = b"" if response.value is None else json.dumps(response.value).encode()
    response.headers["content-length"] = str(len(body))
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers.raw})
    await send({"type": "http.response.body", "body": body})


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


def _once(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body}]

    async def next_message() -> Message:
        return messages.pop() if messages else await receive()

    return next_message


def drop_header(name: str) -> Callable[[Request, Response], None]:
    def change(_request: Request, response: Response) -> None:
        if name in response.headers:
            del response.headers[name]

    return change


def ignore_header(name: str) -> Callable[[Request], None]:
    def change(request: Request) -> None:
        if name in request.headers:
            del request.headers[name]

    return change


def ignore_parameter(name: str) -> Callable[[Request], None]:
    def change(request: Request) -> None:
        request.query = [(key, value) for key, value in request.query if key != name]

    return change


def replace(member: str, value: Any, by: Any) -> Callable[[Request, Response], None]:
    """Change a member that has a value in each object of a response; `by` None removes it, `value` None is any."""

    def walk(node: Any) -> None:
        if isinstance(node, list):
            for item in node:
                walk(item)
        elif isinstance(node, dict):
            if member in node and (value is None or node[member] == value):
                if by is None:
                    del node[member]
                else:
                    node[member] = by
            for item in node.values():
                walk(item)

    return lambda _request, response: walk(response.value)


def change_status(path: str, status: int, by: int) -> Callable[[Request, Response], None]:
    def change(request: Request, response: Response) -> None:
        if request.path.endswith(path) and response.status == status:
            response.status = by

    return change


def accept_anybody(request: Request) -> None:
    if request.headers.get("authorization", "Bearer no-such-key") == "Bearer no-such-key":
        request.headers["authorization"] = f"Bearer {ANYBODY['key']}"


ANYBODY = {"key": ""}
"""The key that a server without authentication uses for everybody."""


def ignore_unknown_fields(request: Request) -> None:
    if b"no_such_field" in request.body:
        body = json.loads(request.body)
        body.pop("no_such_field", None)
        request.body = json.dumps(body).encode()


def ignore_label_null(request: Request) -> None:
    if request.method == "PATCH":
        body = json.loads(request.body)
        body["labels"] = {name: value for name, value in body.get("labels", {}).items() if value is not None}
        request.body = json.dumps(body).encode()


def ignore_reject(request: Request) -> None:
    request.body = request.body.replace(b'"reject"', b'"enqueue"')


def delete_nothing(request: Request) -> Response | None:
    if request.method != "DELETE" or request.path.split("/")[-2] != "sessions":
        return None
    names = ("x-request-id", request.headers["x-request-id"])
    headers = MutableHeaders({names[0]: names[1], "cache-control": "no-store", "x-content-type-options": "nosniff"})
    return Response(204, headers, None)


def lose_last_message(request: Request, response: Response) -> None:
    if request.path.endswith("/output") and isinstance(response.value, dict) and "messages" in response.value:
        response.value["messages"] = response.value["messages"][:1]


def list_oldest_twice(request: Request, response: Response) -> None:
    if request.method == "GET" and request.path.endswith("/runs") and response.status == 200:
        response.value["runs"] += response.value["runs"]


def split_deltas(request: Request, response: Response) -> None:
    if ("format", "compact") not in request.query or response.status != 200:
        return
    events = []
    for event in response.value["events"]:
        if event["type"] == "TEXT_MESSAGE_CONTENT":
            events += [{**event, "delta": event["delta"][:1]}, {**event, "delta": event["delta"][1:]}]
        else:
            events.append(event)
    response.value["events"] = events


def lose_texts(request: Request, response: Response) -> None:
    if ("format", "compact") in request.query and response.status == 200:
        for event in response.value["events"]:
            if event["type"] == "TEXT_MESSAGE_CONTENT":
                event["delta"] = event["delta"][:-1]


def repeat_first(frames: list[bytes]) -> Iterator[bytes]:
    yield from frames[:1]
    yield from frames


def lose_third(frames: list[bytes]) -> Iterator[bytes]:
    yield from frames[:2]
    yield from frames[3:]


def lose_end(frames: list[bytes]) -> Iterator[bytes]:
    return (frame for frame in frames if b"RUN_FINISHED" not in frame)


def lose_cursors(frames: list[bytes]) -> Iterator[bytes]:
    return (frame.partition(b"data: ")[1] + frame.partition(b"data: ")[2] for frame in frames)


FAULTS = [
    Fault("a header against guessing types is missing", "identity", response=drop_header("x-content-type-options")),
    Fault("the request id is not returned", "identity", response=drop_header("x-request-id")),
    Fault("responses may be cached", "identity", response=drop_header("cache-control")),
    Fault("capabilities are missing", "identity", response=replace("capabilities", None, None)),
    Fault("anybody is let in", "authentication", request=accept_anybody),
    Fault("an error has no request id", "unknown_fields", response=replace("request_id", None, None)),
    Fault("unknown fields are ignored", "unknown_fields", request=ignore_unknown_fields),
    Fault("an error has no details", "unknown_fields", response=replace("details", None, None)),
    Fault("another code for no JSON", "bodies", response=replace("code", "invalid_request", "conflict")),
    Fault("another code for no session", "unknown_session", response=replace("code", "session_not_found", "not_found")),
    Fault("no Location", "creation", response=drop_header("location")),
    Fault("200 for a creation", "creation", response=change_status("/sessions", 201, 200)),
    Fault("labels are lost", "creation", response=replace("labels", None, None)),
    Fault("idempotency keys are ignored", "replay", request=ignore_header("idempotency-key")),
    Fault("a replay does not say so", "replay", response=drop_header("idempotency-replayed")),
    Fault(
        "a reused key has another code",
        "reused_key",
        response=replace("code", "idempotency_key_reused", "idempotency_key_in_use"),
    ),
    Fault("wait is ignored", "answers", request=ignore_parameter("wait")),
    Fault("a required field is missing", "creation", response=replace("status", None, None)),
    Fault("an undocumented state", "waiting", response=replace("status", "running", "humming")),
    Fault("label filters are ignored", "listing", request=ignore_parameter("label")),
    Fault("a search is ignored", "listing", request=ignore_parameter("search")),
    Fault("null removes no label", "label_removal", request=ignore_label_null),
    Fault("runs have no answer", "answers", response=replace("answer", None, None)),
    Fault("runs are listed twice", "answers", response=list_oldest_twice),
    Fault("compact texts are not joined", "compaction", response=split_deltas),
    Fault("compact texts are cut off", "compaction", response=lose_texts),
    Fault("a transcript loses messages", "transcript", response=lose_last_message),
    Fault("a page has no limit", "pages", request=ignore_parameter("limit")),
    Fault("a page leads nowhere", "pages", response=replace("next_after", None, None)),
    Fault("conditions are ignored", "conditional", request=ignore_header("if-none-match")),
    Fault("a stream repeats an event", "streaming", frames=repeat_first),
    Fault("a stream loses an event", "streaming", frames=lose_third),
    Fault("a stream has no cursors", "streaming", frames=lose_cursors),
    Fault("a stream has no end", "ag_ui", frames=lose_end),
    Fault("a stream arrives when all is over", "live", frames=iter),
    Fault("a stream begins again", "resumption", request=ignore_header("last-event-id")),
    Fault("an unknown cursor begins again", "cursors", request=ignore_parameter("after")),
    Fault("an interrupt always says yes", "interruption", response=replace("interrupted", False, True)),
    Fault("an interrupted run is completed", "interruption", response=replace("status", "interrupted", "completed")),
    Fault("reject is ignored", "busy", request=ignore_reject),
    Fault("queued runs are running", "busy", response=replace("status", "queued", "running")),
    Fault("approvals have no activity", "approvals", response=replace("activity", "waiting", "idle")),
    Fault("a second decision has another code", "approvals", response=replace("code", "approval_closed", "conflict")),
    Fault("a stopped session is running", "stopping", response=replace("status", "stopped", "running")),
    Fault("nothing is deleted", "deletion", answer=delete_nothing),
]
