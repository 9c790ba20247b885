"""The platform's JSON to the types of the port and back; a value of a wrong type anywhere reads as absent."""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from app.backends.ambient import resources
from app.backends.ambient.errors import safe_text, sanitize
from app.backends.ambient.resources import Page, Resource, Status, reader
from app.labels import is_label
from app.models.sessions import NewSession, Repo, Session, SessionPage, SessionStatus

PHASES = {
    "Pending": SessionStatus.PENDING,
    "Creating": SessionStatus.PENDING,
    "Initializing": SessionStatus.PENDING,
    "Running": SessionStatus.RUNNING,
    "Active": SessionStatus.RUNNING,
    "Completed": SessionStatus.COMPLETED,
    "Succeeded": SessionStatus.COMPLETED,
    "Failed": SessionStatus.FAILED,
    "Error": SessionStatus.FAILED,
    "Stopping": SessionStatus.STOPPING,
    "Stopped": SessionStatus.STOPPED,
}

PARENT = "vteam.ambient-code/parent-session-id"
"""The annotation under which the platform keeps the session that a session comes from."""

SMALL = 4096
"""Bytes of a session that is remembered: 2,048 of them are a few MB."""

_read = reader(Resource)
_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_RESOURCE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


def name(resource: Resource) -> str | None:
    """The session's name: under metadata, or on top in a create reply and in older shapes."""
    return resource.metadata.name or resource.name or None


def created_name(reply: Resource) -> str | None:
    """The name in a create reply if it can be one of a Kubernetes resource, else None."""
    found = name(reply)
    return found if found and _RESOURCE_NAME.fullmatch(found) else None


def phase(resource: Resource) -> SessionStatus | None:
    """The session's status as its phase says it; None while the platform has not given it one."""
    said = resource.status.phase
    return PHASES.get(said, SessionStatus.UNKNOWN) if said else None


def session(resource: Resource, session_id: str) -> Session:
    """A session object of the platform, of any version; `session_id` stands in where it does not name itself."""
    metadata, spec, state = resource.metadata, resource.spec, resource.status
    annotations = metadata.annotations or {}
    status = phase(resource) or SessionStatus.PENDING
    return Session(
        id=name(resource) or session_id,
        status=status,
        display_name=spec.display_name or None,
        task=spec.initial_prompt or spec.prompt or None,
        model=(spec.llm_settings and spec.llm_settings.model) or spec.model or None,
        repos=_repos(spec.repos) if spec.repos else None,
        created_at=_time(metadata.creation_timestamp),
        completed_at=_time(state.completion_time),
        result=state.result or None,
        error=_error(state, failed=status is SessionStatus.FAILED),
        labels=_labels(annotations) if annotations else None,
        timeout_seconds=_count(spec.timeout) or None,  # present versions always say 0
        parent_session_id=_text(annotations, PARENT),
    )


def in_transition(resource: Resource, session_id: str, status: SessionStatus) -> Session:
    """The session that a start or stop answers with: the platform's answer is the state before, so its end is stale."""
    before = session(resource, session_id)
    before.status = status
    before.completed_at = before.result = before.error = None
    return before


def as_requested(new: NewSession, session_id: str) -> Session:
    """A session that was just made, as far as its request tells."""
    return Session(
        id=session_id,
        status=SessionStatus.PENDING,
        display_name=new.display_name,
        task=new.task,
        model=new.model,
        repos=new.repos or None,
        labels=new.labels or None,
        timeout_seconds=new.timeout_seconds,
        parent_session_id=new.parent_session_id,
    )


def new_session(new: NewSession) -> dict[str, Any]:
    """The platform's create body: only what the client said, so that the platform's defaults hold."""
    body: dict[str, Any] = {"initialPrompt": new.task}
    if new.display_name is not None:
        body["displayName"] = new.display_name
    if new.model is not None:
        body["llmSettings"] = {"model": new.model}
    if new.repos:
        body["repos"] = [_present(url=repo.url, branch=repo.branch) for repo in new.repos]
    if (workflow := new.active_workflow) is not None:
        body["activeWorkflow"] = _present(gitUrl=workflow.git_url, branch=workflow.branch, path=workflow.path)
    if new.environment_variables:
        body["environmentVariables"] = new.environment_variables
    if new.labels:
        body["annotations"] = new.labels
    if new.timeout_seconds is not None:
        body["timeout"] = new.timeout_seconds
    if new.parent_session_id is not None:
        body["parent_session_id"] = new.parent_session_id
    return body


def accepted_ids(reply: dict[str, Any]) -> tuple[str | None, str | None]:
    """Run id and thread id of a reply to a run, each None where the platform gives none."""
    run_id = _text(reply, "runId") or _text(reply, "run_id")
    return run_id, _text(reply, "threadId") or _text(reply, "thread_id")


def _listed(raw: bytes) -> Session | None:
    """A session of a list; None for what is no object or has no name."""
    entry = _read(raw)
    known = name(entry) if entry else None
    return session(entry, known) if entry and known else None


@lru_cache(maxsize=2048)
def _remembered(raw: bytes) -> Session | None:
    """The same, not to be changed: most sessions of a list are, byte for byte, as they were when it was last read."""
    return _listed(raw)


def page(reply: Page, *, limit: int, offset: int) -> SessionPage:
    """A page of the platform's list; what it does not say of the whole is worked out from what it does.

    Entries without a name are left out. A page without entries is the last. Raises msgspec's errors for an entry that
    cannot be read.
    """
    entries = reply.items or []
    end = max(offset + len(entries), _count(reply.next_offset) or 0)
    total = _count(reply.total_count)
    more = bool(entries) and (end < (total or 0) if reply.has_more is None else reply.has_more)
    return SessionPage(
        items=[found for raw in map(bytes, entries) if (found := (_remembered if len(raw) <= SMALL else _listed)(raw))],
        total=offset + len(entries) if total is None else total,
        limit=limit,
        offset=offset,
        has_more=more,
        next_offset=end if more else None,
    )


def _error(state: Status, *, failed: bool) -> str | None:
    """Why a session failed: the message of its Ready condition, its one-word reason if a client may not read that."""
    if state.error:
        return sanitize(state.error, "Session failed")
    ready = [condition for condition in state.conditions or () if condition.type == "Ready"] if failed else []
    for condition in ready:
        if condition.message:
            return safe_text(condition.message) or sanitize(condition.reason, "Session failed")
    return None


def _labels(annotations: dict[str, Any]) -> dict[str, str] | None:
    """The annotations that a client could have set as labels."""
    labels = {key: value for key, value in annotations.items() if isinstance(value, str) and is_label(key, value)}
    return labels or None


def _repos(entries: list[resources.Repo]) -> list[Repo] | None:
    """Repositories, flat or under `input` as older versions have them."""
    flat = [entry if entry.url else entry.input for entry in entries]
    return [Repo(url=entry.url, branch=entry.branch or None) for entry in flat if entry and entry.url] or None


@lru_cache(maxsize=4096)
def _time(text: str | None) -> str | None:
    """A time as RFC 3339 in UTC; remembered, since whoever polls a list meets the same times again."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if _UTC.fullmatch(text):
            return text
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment.isoformat().replace("+00:00", "Z")


def _text(within: dict[str, Any], key: str) -> str | None:
    value = within.get(key)
    return value if isinstance(value, str) and value else None


def _count(value: int | None) -> int | None:
    return None if value is None or value < 0 else value


def _present(**members: Any) -> dict[str, Any]:
    return {key: value for key, value in members.items() if value is not None}
