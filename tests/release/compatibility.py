"""Changes between two versions of the document that break clients.

oasdiff compares requests, responses and operationIds. The rest of what clients rely on is compared here: roles, error
codes, and the names of schemas, of which generators make the names of types.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

LEVELS = Path(__file__).with_name("oasdiff-levels.txt")
"""Severities that differ from oasdiff's: what v1 promises in the manual's chapter on versions."""
ERROR = 3
"""oasdiff's number of its severity `err`."""

ROLES = ("view", "edit", "admin")
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


def breaking_changes(oasdiff: Path, base: Path, revision: Path) -> list[str]:
    """Return a line for each change from one document to another that breaks clients."""
    return [*_seen_by_oasdiff(oasdiff, base, revision), *other_changes(_load(base), _load(revision))]


def other_changes(base: dict[str, Any], revision: dict[str, Any]) -> Iterator[str]:
    """Yield the breaking changes that oasdiff does not compare."""
    for name in sorted(_schemas(base).keys() - _schemas(revision).keys()):
        yield f"schema {name} was removed or renamed"
    for code in sorted(_codes(base) - _codes(revision)):
        yield f"error code {code} was removed"
    later = _operations(revision)
    for place, old in _operations(base).items():
        if (new := later.get(place)) is None:
            continue  # oasdiff reports it
        if ROLES.index(new["x-role"]) > ROLES.index(old["x-role"]):
            yield f"{place}: role {new['x-role']} is needed instead of {old['x-role']}"
        for status, response in old["responses"].items():
            before = _error_codes(base, response)
            after = _error_codes(revision, new["responses"].get(status, {}))
            for code in sorted(before - after):
                yield f"{place}: error code {code} of status {status} was removed"


def _seen_by_oasdiff(oasdiff: Path, base: Path, revision: Path) -> Iterator[str]:
    command = [str(oasdiff), "breaking", "--severity-levels", str(LEVELS), "--format", "yaml", str(base), str(revision)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own arguments
    if finished.returncode:
        raise RuntimeError(f"oasdiff failed: {finished.stderr.strip()}")
    for change in yaml.safe_load(finished.stdout):
        if change["level"] == ERROR:
            place = f"{change['operation']} {change['path']}: " if "path" in change else ""
            yield place + change["text"]


def _load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    return document


def _schemas(document: dict[str, Any]) -> dict[str, Any]:
    schemas: dict[str, Any] = document.get("components", {}).get("schemas", {})
    return schemas


def _codes(document: dict[str, Any]) -> set[str]:
    code = _schemas(document).get("Error", {}).get("properties", {}).get("code", {})
    return set(code.get("x-extensible-enum", ()))


def _operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": item[method]
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    }


def _error_codes(document: dict[str, Any], response: dict[str, Any]) -> set[str]:
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    return set(response.get("x-error-codes", ()))
