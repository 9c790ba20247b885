"""Cross-origin requests: which web pages may call the API, and the response headers for their browsers."""

import re
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from app.server.request import RequestContext

VARY = (b"vary", b"Origin, Accept-Encoding")
"""On every response, so that a cache does not mix up the responses to different origins."""

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
_MAX_ORIGIN = 512  # a scheme, a host name of 253 characters, and a port


class Cors:
    """Starlette's rules, except that unlisted origins are served without CORS headers and no preflight fails."""

    def __init__(self, origins: Collection[str]) -> None:
        hosts = (re.escape(origin).replace(r"\*", "[a-z0-9._-]+") for origin in origins)
        self._rules = CORSMiddleware(
            _unused_app,
            allow_origin_regex="|".join(hosts) or "(?!)",
            allow_methods="*",
            allow_headers=_REQUEST_HEADERS,
            allow_credentials=True,
            expose_headers=_RESPONSE_HEADERS,
        )
        self._shared = [
            (name.lower().encode(), value.encode("latin-1")) for name, value in self._rules.simple_headers.items()
        ]

    def allows(self, origin: str) -> bool:
        """Return whether pages of this origin may call the API; a rule with several `*` is slow on a long text."""
        return len(origin) <= _MAX_ORIGIN and self._rules.is_allowed_origin(origin)

    def is_foreign(self, context: RequestContext) -> bool:
        """Return whether a page of another origin, which is not listed, has sent a request.

        A browser says so in `Origin`, or in `Sec-Fetch-Site` if it omits that. Other clients say neither. The scheme
        is not compared, since it is a proxy's business.
        """
        if (origin := context.headers.get("origin")) is None:
            return context.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}
        if "origin" in context.repeated:
            return True
        same = origin.partition("://")[2].lower() == context.headers.get("host", "").lower()
        return not same and not self.allows(origin)

    def headers(self, origin: str) -> list[tuple[bytes, bytes]]:
        """Return the headers that let pages of this origin read a response; none for an unlisted one."""
        if not self.allows(origin):
            return []
        return [*self._shared, (b"access-control-allow-origin", origin.encode("latin-1"))]

    def preflight(self, headers: Headers) -> Response | None:
        """Return the response to a preflight from a listed origin; None for every other request."""
        if "access-control-request-method" not in headers or not self.allows(headers["origin"]):
            return None
        allowed = self._rules.preflight_response(headers).headers
        return Response(status_code=204, headers={name: allowed[name] for name in allowed if "content-" not in name})


async def _unused_app(*_arguments: object) -> None:
    """Stand in for the app that Starlette's middleware wraps: only its rules are used here."""
