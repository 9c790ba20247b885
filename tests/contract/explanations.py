"""Why stock Connexion and the compiled contract treat some requests differently: one table."""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from app import spec
from app.attachments import check, check_run
from app.errors import AttachmentNotUsable, WorkspaceFileNotFound
from app.models.runs import Attachment, RunCreate
from app.workspace_paths import parse_path
from tests.support.contract import Sent
from tests.support.document import inlined

SCHEMAS = inlined(spec.load())["components"]["schemas"]
VARIABLE = SCHEMAS["SessionCreate"]["properties"]["environment_variables"]["x-key-pattern"]
NAMES = {
    "environment_variables": VARIABLE,
    "environmentVariables": VARIABLE,
    "labels": SCHEMAS["Labels"]["x-key-pattern"],
}
REFUSED, ACCEPTED, MOVED, CRASHED = 4, 2, 3, 5  # classes of statuses


class Explanation(NamedTuple):
    """Why stock Connexion responds with one class of status and the compiled contract with another."""

    reason: str
    stock: int
    ours: int
    applies: Callable[[Sent], bool]


def header(sent: Sent, name: str) -> list[str]:
    return [value for key, value in sent.headers if key.lower() == name.lower()]


def query(sent: Sent) -> list[tuple[str, str]]:
    return parse_qsl(sent.target.partition("?")[2], keep_blank_values=True)


def path(sent: Sent) -> str:
    return sent.target.partition("?")[0]


def value(sent: Sent) -> Any:
    try:
        return json.loads(sent.body)
    except (ValueError, RecursionError):
        return None


def sloppy_json(sent: Sent) -> bool:
    """Whether there is a body that is not one strict JSON value in UTF-8."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError
        return dict(pairs)

    def constant(name: str) -> float:
        raise ValueError(name)

    if not sent.body:
        return False
    try:
        read = json.loads(sent.body.decode(), object_pairs_hook=unique, parse_constant=constant)
        json.dumps(read, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return True
    return False


def bodiless(sent: Sent) -> bool:
    return sent.method == "DELETE" or path(sent).endswith(("/start", "/stop", "/interrupt"))


def pages_of_a_transcript(sent: Sent) -> bool:
    fields = dict(query(sent))
    return bool(fields.keys() & {"after", "limit"}) and fields.get("format", "transcript") == "transcript"


def utf8(text: str) -> bool:
    try:
        unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return False
    return True


def absent_field(sent: Sent) -> bool:
    """Return whether a field is null or an empty text."""
    body = value(sent)
    return isinstance(body, dict) and bool(re.search(r': (null|"")', json.dumps(body)))


def other_names(sent: Sent) -> bool:
    return any(name in sent.body for name in (b'"activeWorkflow"', b'"environmentVariables"', b'"gitUrl"'))


def strange_names(sent: Sent) -> bool:
    body = value(sent)
    if not isinstance(body, dict):
        return False
    maps = [(pattern, given) for field, pattern in NAMES.items() if isinstance(given := body.get(field), dict)]
    return any(not re.fullmatch(pattern, name) for pattern, given in maps for name in given)


def leads_outside(sent: Sent) -> bool:
    """Whether a path in a workspace is none."""
    fields = dict(query(sent))
    try:
        parse_path(fields.get("path"), fields.get("path_base64"))
    except WorkspaceFileNotFound:
        return "/workspace/" in path(sent)
    return False


def unclear_attachment(sent: Sent) -> bool:
    """Whether an attachment is neither a path nor data with its media type, or belongs to a message of no user."""
    body = value(sent)
    try:
        if path(sent).endswith("/runs"):
            check_run(msgspec.convert(body, RunCreate))
        elif isinstance(body, dict):
            check(msgspec.convert(body.get("attachments"), list[Attachment] | None))
    except AttachmentNotUsable:
        return True
    except msgspec.ValidationError:
        return False
    return False


EXPLANATIONS = [
    Explanation("a body is one JSON value, strictly", ACCEPTED, REFUSED, sloppy_json),
    Explanation("no body crashes the parser", CRASHED, REFUSED, sloppy_json),
    Explanation(
        "JSON is JSON with no type and in any case",
        CRASHED,
        ACCEPTED,
        lambda sent: header(sent, "Content-Type") != ["application/json"],
    ),
    Explanation("a body may come in chunks", REFUSED, ACCEPTED, lambda sent: sent.chunked),
    Explanation(
        "another charset is refused", ACCEPTED, REFUSED, lambda sent: "charset" in "".join(header(sent, "Content-Type"))
    ),
    Explanation(
        "a body where none is described is refused", ACCEPTED, REFUSED, lambda sent: bodiless(sent) and bool(sent.body)
    ),
    Explanation("names in a map follow x-key-pattern", ACCEPTED, REFUSED, strange_names),
    Explanation("a null or an empty text in a field reads as absent", REFUSED, ACCEPTED, absent_field),
    Explanation(
        "an empty header reads as absent",
        REFUSED,
        ACCEPTED,
        lambda sent: header(sent, "X-Ambient-Project") == [""],
    ),
    Explanation("a field has other names", REFUSED, ACCEPTED, other_names),
    Explanation("a body has a limit", ACCEPTED, REFUSED, lambda sent: len(sent.body) > 1_048_576),
    Explanation(
        "integers are plain decimal",
        ACCEPTED,
        REFUSED,
        lambda sent: any(
            name in {"depth", "limit", "offset", "wait"} and not re.fullmatch("-?(0|[1-9][0-9]*)", text, re.ASCII)
            for name, text in query(sent)
        ),
    ),
    Explanation(
        "a scalar is sent once",
        ACCEPTED,
        REFUSED,
        lambda sent: any(
            name not in {"status", "label"} and [key for key, _ in query(sent)].count(name) > 1
            for name, _ in query(sent)
        ),
    ),
    Explanation("a transcript has no pages", ACCEPTED, REFUSED, pages_of_a_transcript),
    Explanation("an attachment is one of the two kinds", ACCEPTED, REFUSED, unclear_attachment),
    Explanation("a path stays in the workspace", ACCEPTED, REFUSED, leads_outside),
    Explanation(
        "a range beyond the end is refused",
        ACCEPTED,
        REFUSED,
        lambda sent: path(sent).endswith("/workspace/file") and bool(header(sent, "Range")),
    ),
    Explanation("a query is UTF-8", ACCEPTED, REFUSED, lambda sent: not utf8(sent.target)),
    Explanation(
        "$ is the end, not a newline before it",
        ACCEPTED,
        REFUSED,
        lambda sent: "%0a" in sent.target.lower() or b'\\n"' in sent.body,
    ),
    Explanation(
        "a header is sent once",
        ACCEPTED,
        REFUSED,
        lambda sent: len({key.lower() for key, _ in sent.headers}) < len(sent.headers),
    ),
    Explanation(
        "a malformed token is refused whatever stands beside it",
        ACCEPTED,
        REFUSED,
        lambda sent: any(" " in text.partition(" ")[2] for text in header(sent, "Authorization")),
    ),
    Explanation(
        "control characters are no spaces in a pattern",
        REFUSED,
        ACCEPTED,
        lambda sent: bool(re.search(rb"\\u001[c-f]", sent.body)),
    ),
    Explanation("OPTIONS is served", REFUSED, ACCEPTED, lambda sent: sent.method == "OPTIONS"),
    Explanation("a path with a slash more is no path", MOVED, REFUSED, lambda sent: path(sent).endswith("/")),
]
