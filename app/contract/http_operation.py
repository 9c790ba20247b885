"""Operations over HTTP: requests are decoded and checked in the order that the document promises, results are sent."""

import asyncio
import re
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.types import Receive, Send

from app.contract import security
from app.contract.conditional import IF_NONE_MATCH, REVALIDATED, etag, is_current, send_file
from app.contract.input import JsonBody, RawBody, parse_query
from app.contract.operation import IDEMPOTENCY_KEY, ContractError, Operation
from app.errors import Forbidden, Unauthorized
from app.models.caller import Caller
from app.results import EventStream, FileContent, FileWritten, Idempotent, StreamedBody
from app.server.ratelimit import RateLimiter
from app.server.request import RequestContext
from app.server.streaming import (
    OpenStreams,
    RawHeaders,
    cancel,
    client_disconnect,
    send_chunks,
    send_event_stream,
    server_stop,
    token_end,
)

WAIT = "wait"
"""The parameter of a long poll: for how many seconds the response may be delayed."""

_KEY_HEADER = IDEMPOTENCY_KEY.lower()
_NO_STREAM = nullcontext()
_NO_BODY = JsonBody(
    {"content": {"application/json": {"schema": {"type": "object", "properties": {}, "additionalProperties": False}}}}
)


class HttpOperation:
    """One operation of the document behind its method and path."""

    def __init__(
        self,
        operation: Operation,
        method: str,
        responses: "Responses",
        *,
        authenticate: security.Authenticate,
        max_body: int,
        max_raw_body: int,
        streams: OpenStreams,
        limiter: RateLimiter,
    ) -> None:
        """`max_body` and `max_raw_body` are the largest bodies in bytes, in JSON and in any other media type.

        `streams`, and the `limiter` of keys, are shared by all operations of a server.
        """
        self._limiter = limiter
        self._streams = streams
        self.operation_id = operation.operation_id
        self._operation = operation
        self._responses = responses
        self._authenticate = authenticate

        def taken(place: str) -> dict[str, Any]:
            return {name: found for name, found in operation.parameters.items() if found.place == place}

        self._path, self._query, self._headers = taken("path"), taken("query"), taken("header")
        self._query_names = set(self._query)
        ignored = {IF_NONE_MATCH, IDEMPOTENCY_KEY}
        self._other_headers = [found for name, found in operation.other_headers.items() if name not in ignored]
        self._key = operation.other_headers.get(IDEMPOTENCY_KEY)
        self._has_versions = IF_NONE_MATCH in operation.other_headers and responses.is_json
        # A body is read and refused where none is described, but for GET, whose body has no meaning.
        self._body = operation.body or (_NO_BODY if method != "GET" else None)
        self._body_limit = max_raw_body if isinstance(operation.body, RawBody) else max_body

    async def __call__(
        self, context: RequestContext, receive: Receive, send: Send, segments: Mapping[str, str]
    ) -> None:
        """Respond to a request, or raise an `ApiError`. `segments` are the path parameters, still encoded.

        The order of these steps is the order of checks that the document promises: token, names in path and headers,
        rights, size and type of the body, input, and then whatever the handler finds.
        """
        operation = self._operation
        token = await self._authenticate(context)
        arguments: dict[str, Any] = {}
        for name, parameter in self._path.items():
            arguments[name] = parameter.parse_segment(segments[name])
        context.session = arguments.get("session_id")
        for header in self._other_headers:
            header.parse_header(context)
        credentials = security.credentials(context, token)
        context.project = credentials.project
        try:
            caller = await operation.authorize(credentials)
        except (Unauthorized, Forbidden) as error:
            context.caller, context.project = error.caller, context.project or error.project
            raise
        context.caller, context.project = caller.key_id or security.subject(token), caller.project
        await self._limiter.check(caller.key_id or security.fingerprint(token))
        context.authorize_again = lambda: operation.authorize(credentials)
        content = await self._body.read(context, receive, self._body_limit) if self._body else None
        fields = parse_query(context.query, self._query_names) if context.query else {}
        for name, parameter in self._query.items():
            arguments[name] = parameter.parse(fields.get(name))
        for name, parameter in self._headers.items():
            arguments[name] = parameter.parse_header(context)
        if self._body:
            body = self._body.parse(content)
            if operation.body:
                arguments["body"] = body
        key = self._key.header_text(context) if self._key and _KEY_HEADER in context.headers else None
        headers: RawHeaders = []
        if self._has_versions and (tag := await self._tag(caller, arguments)):
            headers += [(b"etag", b'W/"%b"' % tag.encode()), REVALIDATED]
            if is_current(context, tag):
                await send({"type": "http.response.start", "status": 304, "headers": headers})
                await send({"type": "http.response.body"})
                return
        if arguments.get(WAIT):
            with self._streams.hold(token):
                result = await self._long_poll(context, receive, caller, arguments)
            await self._responses.send(context, receive, send, result, arguments=arguments, headers=headers)
            return
        with self._streams.hold(token) if self._responses.is_stream else _NO_STREAM:
            result = await operation.invoke(caller, arguments, idempotency_key=key)
            await self._responses.send(context, receive, send, result, arguments=arguments, headers=headers)

    async def _tag(self, caller: Caller, arguments: Mapping[str, Any]) -> str | None:
        """Return the tag of the response, if it is known before the response is made.

        A long poll has none, since it waits for a state that is yet to come.
        """
        if arguments.get(WAIT):
            return None
        version = await self._operation.backend.output.version(caller, arguments["session_id"])
        return None if version is None else etag(version, self.operation_id, arguments)

    async def _long_poll(
        self, context: RequestContext, receive: Receive, caller: Caller, arguments: Mapping[str, Any]
    ) -> Any:
        """Return the result that is waited for, or the current one if the server stops or the client disconnects.

        Raises `Unauthorized` or `Forbidden` if the token becomes invalid meanwhile.
        """
        waiting = asyncio.ensure_future(self._operation.invoke(caller, arguments))
        expiring = asyncio.ensure_future(token_end(context))
        ends = [
            expiring,
            asyncio.ensure_future(server_stop(context)),
            asyncio.ensure_future(client_disconnect(receive)),
        ]
        try:
            await asyncio.wait([waiting, *ends], return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
            if expiring.done():
                raise expiring.result()
            return await self._operation.invoke(caller, {**arguments, WAIT: 0})
        finally:
            await cancel(waiting, *ends)


# Responses

_PARAMETER = re.compile(r"\{(\w+)\}")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]*")  # needs no quoting, which would take most of the time
_EXPRESSION = re.compile(r"\$request\.path\.(\w+)|\$response\.body#/(\w+)", re.ASCII)

_encode = msgspec.json.Encoder().encode


class Responses:
    """The successful responses of one operation.

    A result with content gets the first documented success that has content, with its media type; one without content
    gets the first that has none. A file may get 206, 304 and 416 as well, if they are documented.
    """

    def __init__(self, definition: dict[str, Any], paths: Mapping[str, str]) -> None:
        """Compile a definition whose references are resolved. `paths` has the path of each operation by its id."""
        documented = {int(code): response for code, response in definition["responses"].items() if code.isdecimal()}
        successes = [status for status in documented if 200 <= status < 300]  # noqa: PLR2004 - 2xx
        with_content = [status for status in successes if "content" in documented[status]]
        without_content = [status for status in successes if "content" not in documented[status]]
        self._documented = frozenset(documented)
        self._status = (with_content or without_content)[0]
        self._empty_status = (without_content or with_content)[0]
        response = documented[self._status]
        media_type = next(iter(response.get("content", {})), "")
        self.is_json = media_type == "application/json"
        self.is_stream = media_type == "text/event-stream"
        content_type = f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type
        self._content_type = (b"content-type", content_type.encode())
        self._location = _Location(response, paths) if "Location" in response.get("headers", {}) else None

    async def send(
        self,
        context: RequestContext,
        receive: Receive,
        send: Send,
        result: Any,
        *,
        arguments: Mapping[str, Any],
        headers: RawHeaders,
    ) -> None:
        """Send the result of an operation for these arguments, with these headers and its own."""
        if isinstance(result, Idempotent):
            if result.replayed:
                headers.append((b"idempotency-replayed", b"true"))
            result = result.value
        if isinstance(result, EventStream):
            await send_event_stream(context, receive, send, self._status, result)
        elif isinstance(result, StreamedBody):
            headers += [self._content_type, *_disposition(result.name)]
            await send_chunks(context, receive, send, result.chunks, status=self._status, headers=headers)
        elif isinstance(result, FileContent):
            headers += [self._content_type, *_disposition(result.name)]
            await send_file(context, receive, send, result, documented=self._documented, headers=headers)
        elif result is None or isinstance(result, FileWritten):
            if result is not None:
                headers.append((b"etag", b'"%b"' % result.etag.encode()))
            await send({"type": "http.response.start", "status": self._empty_status, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
        else:
            if self._location:
                resource = self._location.parameters(arguments, result)
                context.session = resource.get("session_id", context.session)
                headers.append((b"location", self._location.path(resource).encode("ascii")))
            content = _encode(result) if self.is_json else result.encode()
            headers += [self._content_type, (b"content-length", b"%d" % len(content))]
            await send({"type": "http.response.start", "status": self._status, "headers": headers})
            await send({"type": "http.response.body", "body": content})


def _disposition(name: str | None) -> RawHeaders:
    """Return the header by which a browser saves a response that has a name (RFC 6266), and never shows it."""
    if name is None:
        return []
    return [(b"content-disposition", b"attachment; filename*=UTF-8''%b" % quote(name, safe="").encode())]


class _Location:
    """The path of the resource that was created: the target of the response's first link."""

    def __init__(self, response: dict[str, Any], paths: Mapping[str, str]) -> None:
        link = next(iter(response["links"].values()))
        template = paths[link["operationId"]]
        self._format = _PARAMETER.sub("%s", template)
        self._sources: dict[str, tuple[str | None, str]] = {}  # names of an argument or a member, by the parameter
        for name in _PARAMETER.findall(template):
            expression = _EXPRESSION.fullmatch(link["parameters"][name])
            if expression is None:
                raise ContractError(f"{template}: no Location can be made of {link['parameters'][name]}")
            argument, member = expression.groups()
            self._sources[name] = argument, member

    def parameters(self, arguments: Mapping[str, Any], value: Any) -> dict[str, str]:
        """Return the path parameters, for the arguments of a request and the value of its response."""
        return {
            name: arguments[argument] if argument else getattr(value, member)
            for name, (argument, member) in self._sources.items()
        }

    def path(self, parameters: Mapping[str, str]) -> str:
        """Return the path with these parameters."""
        parts = parameters.values()
        return self._format % tuple(part if _UNRESERVED.fullmatch(part) else quote(part, safe="") for part in parts)
