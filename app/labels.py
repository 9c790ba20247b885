"""Rules for labels that the document cannot express: reserved prefixes, lengths, and how many a session may have."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from app.errors import BadRequest, Detail, TooManyLabels
from app.models.sessions import SessionUpdate

MAX_LABELS = 64
MAX_PREFIX_LENGTH = 253
_LONGEST = MAX_PREFIX_LENGTH + 64  # with the slash and the name
RESERVED = (
    "app.kubernetes.io",
    "kubectl.kubernetes.io",
    "meta.kubernetes.io",
    "vteam.ambient-code",
    "ambient-code.io",
    "public-api.ambient-code.io",
)
"""Prefixes that Kubernetes, the platform and this server use for labels of their own."""

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_KEY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{{0,61}}[A-Za-z0-9])?")
_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")


def check(keys: Iterable[str] | None) -> None:
    """Raise `BadRequest` with a detail for each key that a client must not use."""
    if details := _details(keys or ()):
        raise BadRequest(details=details)


def check_update(update: SessionUpdate) -> None:
    """Raise `BadRequest` with a detail for each key that a client must not use, or would both set and remove."""
    labels = update.labels or {}
    details = _details(labels)
    for index, key in enumerate(update.remove_labels or ()):
        fault = "must not be a label that labels sets" if labels.get(key) is not None else _fault(key)
        if fault:
            details.append(Detail(f"body.remove_labels[{index}]", fault))
    if details:
        raise BadRequest(details=details)


def apply_changes(labels: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """Return the labels with the changes, in which None removes a label. Raises `TooManyLabels`."""
    merged = {key: value for key, value in {**labels, **changes}.items() if value is not None}
    if len(merged) > MAX_LABELS:
        raise TooManyLabels
    return merged


def is_label(key: str, value: str) -> bool:
    """Return whether a client may set this label."""
    return len(key) <= _LONGEST and _is_key(key) and _VALUE.fullmatch(value) is not None


def matches(labels: Mapping[str, str] | None, wanted: Iterable[str]) -> bool:
    """Return whether the labels include all of `wanted`, each written `key=value`."""
    return {f"{key}={value}" for key, value in (labels or {}).items()}.issuperset(wanted)


@lru_cache(maxsize=4096)
def _is_key(key: str) -> bool:
    """Return whether a client may use this key. Cached, because the same few keys come with every session."""
    return _fault(key) is None and _KEY.fullmatch(key) is not None


def _details(labels: Iterable[str]) -> list[Detail]:
    return [Detail(f"body.labels.{key}", fault) for key in labels if (fault := _fault(key))]


def _fault(key: str) -> str | None:
    prefix, slash, _ = key.rpartition("/")
    if slash and prefix in RESERVED:
        return "has a reserved prefix"
    return f"must have a prefix of at most {MAX_PREFIX_LENGTH} characters" if len(prefix) > MAX_PREFIX_LENGTH else None
