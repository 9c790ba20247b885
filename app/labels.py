"""The rules of labels beyond what the document can say: reserved prefixes, lengths, how many a session has."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from app.errors import BadRequest, Detail, TooManyLabels

MOST = 64
LONGEST_PREFIX = 253
RESERVED = (
    "app.kubernetes.io",
    "kubectl.kubernetes.io",
    "meta.kubernetes.io",
    "vteam.ambient-code",
    "ambient-code.io",
)
"""Prefixes under which Kubernetes and the platform keep their own notes."""

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_KEY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{{0,61}}[A-Za-z0-9])?")
_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")


def check(keys: Iterable[str] | None) -> None:
    """Raise `BadRequest` for keys that a client must not use."""
    if wrong := [Detail(f"body.labels.{key}", fault) for key in keys or () if (fault := _fault(key))]:
        raise BadRequest(details=wrong)


def changed(present: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """The labels after some were set and those given as None removed; `TooManyLabels`."""
    merged = {key: value for key, value in {**present, **changes}.items() if value is not None}
    if len(merged) > MOST:
        raise TooManyLabels
    return merged


def is_label(key: str, value: str) -> bool:
    """Whether a client could have set this."""
    return _is_key(key) and _VALUE.fullmatch(value) is not None


def matches(labels: Mapping[str, str] | None, wanted: Iterable[str]) -> bool:
    """Whether all of `wanted`, each written `key=value`, are among the labels."""
    return {f"{key}={value}" for key, value in (labels or {}).items()}.issuperset(wanted)


@lru_cache(maxsize=4096)
def _is_key(key: str) -> bool:
    """Remembered, since the same few keys come with every session."""
    return _fault(key) is None and _KEY.fullmatch(key) is not None


def _fault(key: str) -> str | None:
    prefix, slash, _ = key.rpartition("/")
    if slash and prefix in RESERVED:
        return "has a reserved prefix"
    return f"must have a prefix of at most {LONGEST_PREFIX} characters" if len(prefix) > LONGEST_PREFIX else None
