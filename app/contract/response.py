"""Successful responses: status, headers and body for the result of an operation, as the document describes them."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.types import Receive, Send

from app.contract.file_response import send_file
from app.contract.operation import ContractError
from app.results import EventStream, FileContent, FileWritten, Idempotent, StreamedBody
from app.server.context import RequestContext
from app.server.streaming import RawHeaders, send_chunks, send_event_stream

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
        self._content_type = f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type
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
        content_type = (b"content-type", self._content_type.encode())
        if isinstance(result, EventStream):
            await send_event_stream(context, receive, send, self._status, result)
        elif isinstance(result, StreamedBody):
            await send_chunks(
                context, receive, send, result.chunks, status=self._status, headers=[*headers, content_type]
            )
        elif isinstance(result, FileContent):
            await send_file(
                context, receive, send, result, documented=self._documented, headers=[*headers, content_type]
            )
        elif result is None or isinstance(result, FileWritten):
            if result is not None:
                headers.append((b"etag", b'"%b"' % result.etag.encode()))
            await send({"type": "http.response.start", "status": self._empty_status, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
        else:
            if self._location:
                headers.append((b"location", self._location.path(arguments, result).encode("ascii")))
            content = _encode(result) if self.is_json else result.encode()
            headers += [content_type, (b"content-length", b"%d" % len(content))]
            await send({"type": "http.response.start", "status": self._status, "headers": headers})
            await send({"type": "http.response.body", "body": content})


class _Location:
    """The path of the resource that was created: the target of the response's first link."""

    def __init__(self, response: dict[str, Any], paths: Mapping[str, str]) -> None:
        link = next(iter(response["links"].values()))
        template = paths[link["operationId"]]
        self._format = _PARAMETER.sub("%s", template)
        self._sources: list[tuple[str | None, str]] = []  # names of an argument or of a member, for each parameter
        for name in _PARAMETER.findall(template):
            expression = _EXPRESSION.fullmatch(link["parameters"][name])
            if expression is None:
                raise ContractError(f"{template}: no Location can be made of {link['parameters'][name]}")
            argument, member = expression.groups()
            self._sources.append((argument, member))

    def path(self, arguments: Mapping[str, Any], value: Any) -> str:
        """Return the path, for the arguments of a request and the value of its response."""
        parts = [arguments[argument] if argument else getattr(value, member) for argument, member in self._sources]
        return self._format % tuple(part if _UNRESERVED.fullmatch(part) else quote(part, safe="") for part in parts)
