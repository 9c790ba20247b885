"""Cross-origin requests: what an answer says to the web pages of the origins that may call."""

import re
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

_REQUEST_HEADERS = (
    "Authorization",
    "Idempotency-Key",
    "If-None-Match",
    "Last-Event-ID",
    "Traceparent",
    "X-Ambient-Project",
    "X-Request-ID",
)
_RESPONSE_HEADERS = ("Location", "Retry-After", "X-Request-ID", "Idempotency-Replayed", "ETag")
_VARY = (b"vary", b"Origin, Accept-Encoding")


class Cors:
    """Starlette's rules, but an unlisted origin is served as if it had sent none, and a preflight never fails."""

    def __init__(self, origins: Collection[str]) -> None:
        hosts = (re.escape(origin).replace(r"\*", "[a-z0-9._-]+") for origin in origins)
        self._rules = CORSMiddleware(
            _nothing,
            allow_origin_regex="|".join(hosts) or "(?!)",
            allow_methods="*",
            allow_headers=_REQUEST_HEADERS,
            allow_credentials=True,
            expose_headers=_RESPONSE_HEADERS,
        )
        self._shared = [
            (name.lower().encode(), value.encode("latin-1")) for name, value in self._rules.simple_headers.items()
        ]

    def headers(self, origin: str | None) -> list[tuple[bytes, bytes]]:
        """What every answer to a request from `origin` says; None is a request that names none."""
        if origin is None or not self._rules.is_allowed_origin(origin):
            return [_VARY]
        return [*self._shared, (b"access-control-allow-origin", origin.encode("latin-1")), _VARY]

    def preflight(self, headers: Headers) -> Response | None:
        """What an origin may do, for the browser to judge; None where nobody asks, or an unlisted origin does."""
        if "access-control-request-method" not in headers or not self._rules.is_allowed_origin(headers["origin"]):
            return None
        allowed = self._rules.preflight_response(headers).headers
        return Response(status_code=204, headers={name: allowed[name] for name in allowed if "content-" not in name})


async def _nothing(*_arguments: object) -> None:
    """Starlette's rules come with an app that they are never asked to call."""
