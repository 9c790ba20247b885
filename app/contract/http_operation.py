"""Operations over HTTP: requests are decoded and checked in the order that the document promises."""

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.types import Receive, Send

from app.contract import etag, security
from app.contract.body import JsonBody, RawBody
from app.contract.operation import IDEMPOTENCY_KEY, Operation
from app.contract.parameters import parse_query
from app.contract.response import Responses
from app.models.caller import Caller
from app.server.context import RequestContext
from app.server.streaming import RawHeaders, cancel, client_disconnect, server_stop, token_end

WAIT = "wait"
"""The parameter of a long poll: for how many seconds the response may be delayed."""

_KEY_HEADER = IDEMPOTENCY_KEY.lower()
_NO_BODY = JsonBody(
    {"content": {"application/json": {"schema": {"type": "object", "properties": {}, "additionalProperties": False}}}}
)


class HttpOperation:
    """One operation of the document behind its method and path."""

    def __init__(
        self,
        operation: Operation,
        method: str,
        responses: Responses,
        *,
        authenticate: security.Authenticate,
        max_body: int,
        max_raw_body: int,
    ) -> None:
        """`max_body` and `max_raw_body` are the largest bodies in bytes, in JSON and in any other media type."""
        self.operation_id = operation.operation_id
        self._operation = operation
        self._responses = responses
        self._authenticate = authenticate

        def taken(place: str) -> dict[str, Any]:
            return {name: found for name, found in operation.parameters.items() if found.place == place}

        self._path, self._query, self._headers = taken("path"), taken("query"), taken("header")
        self._query_names = set(self._query)
        ignored = {etag.HEADER, IDEMPOTENCY_KEY}
        self._other_headers = [found for name, found in operation.other_headers.items() if name not in ignored]
        self._key = operation.other_headers.get(IDEMPOTENCY_KEY)
        self._has_versions = etag.HEADER in operation.other_headers and responses.is_json
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
        for header in self._other_headers:
            header.parse_header(context)
        credentials = security.credentials(context, token)
        caller = await operation.authorize(credentials)
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
            headers += [(b"etag", b'W/"%b"' % tag.encode()), etag.REVALIDATED]
            if etag.is_current(context, tag):
                await send({"type": "http.response.start", "status": 304, "headers": headers})
                await send({"type": "http.response.body"})
                return
        if arguments.get(WAIT):
            result = await self._long_poll(context, receive, caller, arguments)
        else:
            result = await operation.invoke(caller, arguments, idempotency_key=key)
        await self._responses.send(context, receive, send, result, arguments=arguments, headers=headers)

    async def _tag(self, caller: Caller, arguments: Mapping[str, Any]) -> str | None:
        """Return the tag of the response, if it is known before the response is made.

        A long poll has none, since it waits for a state that is yet to come.
        """
        if arguments.get(WAIT):
            return None
        version = await self._operation.backend.version(caller, arguments["session_id"])
        return None if version is None else etag.etag(version, self.operation_id, arguments)

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
