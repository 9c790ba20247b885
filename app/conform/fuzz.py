"""Schemathesis on the document: requests that are made up, valid and not, whose responses have to fit it."""

import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import schemathesis
from junitparser import JUnitXml
from schemathesis import Case, GenerationMode
from schemathesis.cli import schemathesis as program
from schemathesis.hooks import HookContext

from app import spec

CONFIG = Path(__file__).with_name("schemathesis.toml")
_LONG_TEXT = 100_000


def run(base: str, *, key: str, project: str, examples: int, seed: int | None) -> tuple[bool, JUnitXml]:
    """Send up to `examples` requests to each operation; return whether all responses fit, and a report.

    Prints what Schemathesis finds, with a curl line for each.
    """
    schemathesis.hook("filter_case")(is_decided)
    schemathesis.hook("before_call")(_before_call)
    with tempfile.TemporaryDirectory() as directory:
        document, report = Path(directory) / "openapi.json", Path(directory) / "junit.xml"
        document.write_bytes(spec.as_json(_without_streams(prepared(spec.published(spec.load())))))
        arguments = [
            *("--config-file", str(CONFIG), "run", str(document), "--url", base, "--max-examples", str(examples)),
            *("--header", f"Authorization: Bearer {key}", "--report-junit-path", str(report)),
            *(("--header", f"X-Ambient-Project: {project}") if project else ()),
            *(("--seed", str(seed)) if seed is not None else ()),
        ]
        try:
            program.main(arguments, standalone_mode=False)
            passed = True
        except SystemExit as end:
            passed = not end.code
        return passed, JUnitXml.fromfile(str(report))


def prepared(node: Any) -> Any:
    """Return a document in the form that Schemathesis handles well.

    The limits on the names of maps stand in keywords of JSON Schema. The pattern of a long text is one group: otherwise
    Schemathesis writes the length into it as a number of repetitions, and a compilation for a million takes a second.
    """
    if isinstance(node, list):
        return [prepared(item) for item in node]
    if not isinstance(node, dict):
        return node
    copy = {key: prepared(value) for key, value in node.items()}
    if pattern := copy.pop("x-key-pattern", None):
        copy |= {"patternProperties": {pattern: copy["additionalProperties"]}, "additionalProperties": False}
    if copy.get("type") == "string" and "pattern" in copy and copy.get("maxLength", 0) >= _LONG_TEXT:
        copy["pattern"] = f"({copy['pattern']})"
    return copy


def is_valid(case: Case[Any]) -> bool:
    """Return whether a request was made to be valid."""
    return case.meta is None or case.meta.generation.mode is GenerationMode.POSITIVE


def is_decided(_context: HookContext, case: Case[Any]) -> bool:
    """Drop what is wrong only by a null, an empty text or an empty header: a server may read these as absent."""
    return is_valid(case) or not (_has_absent(case.body) or _has_absent(dict(case.headers or {})))


def fit(case: Case[Any]) -> None:
    """Make a valid request one that a server can carry out: a key of its own, no names of things that are not there."""
    if not is_valid(case):
        return
    if case.headers.get("Idempotency-Key"):
        case.headers["Idempotency-Key"] = str(uuid4())
    if case.path.endswith("/output") and case.query.keys() & {"after", "limit"}:
        case.query["format"] = "events"
    if isinstance(case.body, dict):
        for name in ("parent_session_id", "agent", "workspace"):
            case.body.pop(name, None)
        if "branch" in case.body:
            case.body["branch"] = "made-up"  # git has rules for names that no pattern tells


def _before_call(_context: HookContext, case: Case[Any], _kwargs: dict[str, Any]) -> None:
    fit(case)
    if is_valid(case) and isinstance(case.body, dict):
        for name in ("repos", "active_workflow"):  # nothing is fetched from elsewhere
            case.body.pop(name, None)


def _has_absent(value: Any) -> bool:
    if isinstance(value, dict):
        return any(item is None or item == "" or _has_absent(item) for item in value.values())
    return isinstance(value, list) and any(map(_has_absent, value))


def _without_streams(document: dict[str, Any]) -> dict[str, Any]:
    """Leave out responses that do not end by themselves."""
    for path, item in list(document["paths"].items()):
        for method, operation in list(item.items()):
            if isinstance(operation, dict) and _streams(operation):
                del item[method]
        if not item.keys() - {"parameters"}:
            del document["paths"][path]
    return document


def _streams(operation: dict[str, Any]) -> bool:
    return any("text/event-stream" in response.get("content", {}) for response in operation["responses"].values())
