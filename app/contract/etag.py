"""Entity tags: they identify the state of a resource, so that a client need not get a state that it already has."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from werkzeug.http import parse_etags

from app.server.context import RequestContext

HEADER = "If-None-Match"
REVISION = 1
"""To be raised when the same state gets another representation than before."""

REVALIDATED = (b"cache-control", b"private, no-cache")
"""The header of a response with a tag: only the client itself may store it, and has to ask before it uses it again."""

_LONGEST = 4096  # characters of a list of tags that are read


def etag(version: str, operation_id: str, arguments: Mapping[str, Any]) -> str:
    """Return the opaque part of the tag of an operation's response to these arguments, while its data has a version.

    To be sent as a weak tag, since the bytes of the response differ with its compression.
    """
    parts = msgspec.json.encode([REVISION, version, operation_id, sorted(arguments.items())])
    return hashlib.sha256(parts).hexdigest()[:32]


def is_current(context: RequestContext, tag: str) -> bool:
    """Return whether the client has the state that a tag identifies. A header that is not a list of tags is ignored.

    `*` is ignored too, since it depends on whether the resource exists, which is not known yet.
    """
    if HEADER.lower() not in context.headers:
        return False
    known = parse_etags(context.combined(HEADER.lower())[:_LONGEST])
    return not known.star_tag and known.contains_weak(tag)
