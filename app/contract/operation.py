"""One operation of the document as a plan: what happens between a matched route and the answer."""

import inspect
import typing
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from app.backend import Backend
from app.contract import etag, security
from app.contract.body import Body, check_media_type
from app.contract.idempotency import HEADER, InFlightKeys, idempotency_key
from app.contract.parameters import Parameter, parse_query
from app.contract.response import send_response
from app.contract.routing import decode_segment
from app.models.caller import Role
from app.server.body import read_body
from app.server.context import Request

Handler = Callable[..., Awaitable[Any]]

NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
NO_BODY = {"content": {"application/json": {"schema": NOTHING}}}


class ContractError(Exception):
    """The document and a handler do not fit together."""


class HttpOperation:
    """An operation, compiled: the order of its steps is the order of checks that the contract promises."""

    def __init__(
        self,
        operation: dict[str, Any],
        method: str,
        handler: Handler,
        *,
        authenticate: security.Authenticate,
        backend: Backend,
        max_body: int,
        in_flight: InFlightKeys,
    ) -> None:
        self.operation_id: str = operation["operationId"]
        self._handler = handler
        self._authenticate = authenticate
        self._backend = backend
        self._max_body = max_body
        self._in_flight = in_flight
        self._role = Role(operation["x-role"])
        self._status = next(int(status) for status in operation["responses"] if status.startswith("2"))
        parameters = [Parameter(definition) for definition in operation.get("parameters", [])]
        self._path = [parameter for parameter in parameters if parameter.place == "path"]
        self._query = [parameter for parameter in parameters if parameter.place == "query"]
        self._query_names = {parameter.name for parameter in self._query}
        headers = {parameter.name: parameter for parameter in parameters if parameter.place == "header"}
        self._key = headers.pop(HEADER, None)
        self._conditional = headers.pop(etag.HEADER, None) is not None
        taken = inspect.signature(handler).parameters
        self._input_headers = {
            argument_name(name): headers.pop(name) for name in list(headers) if argument_name(name) in taken
        }
        self._headers = headers.values()
        described = operation.get("requestBody")
        self._body = Body(described or NO_BODY) if method != "GET" else None
        self._types = self._argument_types(with_body=described is not None)

    def _argument_types(self, *, with_body: bool) -> dict[str, Any]:
        names = {"backend", "caller", *self._query_names, *self._input_headers}
        names |= {parameter.name for parameter in self._path}
        if with_body:
            names.add("body")
        taken = set(inspect.signature(self._handler).parameters)
        if taken != names:
            raise ContractError(
                f"{self.operation_id}: the document gives {sorted(names)}, the handler takes {sorted(taken)}"
            )
        return typing.get_type_hints(self._handler)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, segments: dict[str, str]) -> None:
        """Answer one request, or raise an `ApiError`."""
        request: Request = scope["head"]
        token = await self._authenticate(request)
        arguments: dict[str, Any] = {}
        for parameter in self._path:
            text = decode_segment(parameter.name, segments[parameter.name])
            arguments[parameter.name] = parameter.value([text])
        for header in self._headers:
            _header_value(request, header)
        credentials = security.credentials(request, token)
        caller = await self._backend.authorize(credentials, self._role)
        content = await self._read(scope, receive)
        fields = parse_query(scope["query_string"], self._query_names)
        for parameter in self._query:
            arguments[parameter.name] = self._typed(parameter.name, parameter.value(fields.get(parameter.name)))
        for name, header in self._input_headers.items():
            arguments[name] = self._typed(name, _header_value(request, header))
        if self._body is not None:
            body = self._body.value(content)
            if self._key and (key := request.header(HEADER)) is not None:
                self._key.value([key])
                caller = msgspec.structs.replace(
                    caller, idempotency_key=idempotency_key(key, caller, [self.operation_id, arguments, body])
                )
            if "body" in self._types:
                arguments["body"] = self._typed("body", body)
        # An answer that is waited for has no tag: what it will be is not known beforehand.
        if self._conditional and not arguments.get("wait"):
            version = await self._backend.version(caller, arguments["session_id"])
            if version is not None:
                tag = etag.etag(version, self.operation_id, arguments)
                send = etag.with_etag(send, tag)
                if etag.is_current(request, tag):
                    await etag.send_not_modified(send)
                    return
        with self._in_flight.hold(caller.idempotency_key):
            result = await self._handler(backend=self._backend, caller=caller, **arguments)
        await send_response(scope, receive, send, self._status, result)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        if self._body is None:
            return b""
        content = await read_body(scope, receive, limit=self._max_body)
        if content:
            check_media_type(scope["head"])
        return content

    def _typed(self, name: str, value: Any) -> Any:
        return None if value is None else msgspec.convert(value, self._types[name])


def argument_name(header: str) -> str:
    """What a handler calls a header that it takes: `Last-Event-ID` is `last_event_id`."""
    return header.lower().replace("-", "_")


def _header_value(request: Request, header: Parameter) -> Any:
    """The typed value of a header; an empty one reads as absent."""
    text = request.header(header.name)
    return header.value([text] if text else None)
