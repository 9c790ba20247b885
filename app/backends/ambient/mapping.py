"""Translation between the platform's JSON and the types of the port. A value of a wrong type counts as absent."""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from app.backends.ambient import resources
from app.backends.ambient.errors import safe_text, sanitize
from app.backends.ambient.resources import Model, Page, PodEvent, Resource, RunnerType, Status, reader
from app.labels import is_label
from app.models.agents import AgentChoice, AgentKind, AgentSummary
from app.models.sessions import Activity, Repo, Session, SessionCreate, SessionPage, SessionStatus

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

AGENT_STATES = {
    "working": Activity.WORKING,
    "idle": Activity.IDLE,
    "waiting_input": Activity.WAITING,
}

PARENT = "vteam.ambient-code/parent-session-id"
"""The annotation in which the platform stores the id of the parent session."""

IDLE_TIMEOUT = "public-api.ambient-code.io/idle-timeout-seconds"
STOP_ON_RUN_FINISHED = "public-api.ambient-code.io/stop-on-run-finished"
"""The annotations in which this server stores what the platform takes and does not return."""

RUNNER_TYPE = "RUNNER_TYPE"
"""The variable in which the platform stores the type of the session's runner."""

DEFAULT_RUNNER_TYPE = "claude-agent-sdk"
"""The type of runner that the platform takes where none is named."""

DESIRED_PHASE = "ambient-code.io/desired-phase"
"""The annotation in which the platform notes a start or stop until its operator has carried it out."""

_FLAGS = {"true": True, "false": False}
_LARGEST = 2**31 - 1  # of the API's 32-bit integers
_MAX_DIGITS = 10
_GOING = frozenset({SessionStatus.PENDING, SessionStatus.RUNNING})
_ENDED = frozenset({SessionStatus.STOPPED, SessionStatus.COMPLETED, SessionStatus.FAILED})

MAX_TIME = 64
"""Longest time in characters, so that what is remembered of times is small."""

MAX_CACHED_BYTES = 4096
"""Largest JSON of a session that is cached; the 2,048 cached ones take a few MB."""

_read = reader(Resource)
_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_SESSION_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_THREAD_ID = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,255}")
_MAX_RUN_ID = 1024  # characters, since it is in a header of the response
_RESOURCE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


def name(resource: Resource) -> str | None:
    """Return the session's name: in its metadata, or at the top in a response to a create and in older versions."""
    return resource.metadata.name or resource.name or None


def created_name(created: Resource) -> str | None:
    """Return the name in a response to a create if a Kubernetes resource can have it, else None."""
    found = name(created)
    return found if found and _RESOURCE_NAME.fullmatch(found) else None


def phase(resource: Resource) -> SessionStatus | None:
    """Return the status that the session's phase stands for; None while the platform has not set a phase.

    A start or stop that the platform has accepted and not carried out yet counts as begun.
    """
    text = resource.status.phase
    if not text:
        return None
    status = PHASES.get(text, SessionStatus.UNKNOWN)
    match (resource.metadata.annotations or {}).get(DESIRED_PHASE):
        case "Stopped" if status in _GOING:
            return SessionStatus.STOPPING
        case "Running" if status in _ENDED:
            return SessionStatus.PENDING
    return status


def is_stop_noted(resource: Resource) -> bool:
    """Return whether the platform has noted that the session is to stop."""
    return (resource.metadata.annotations or {}).get(DESIRED_PHASE) == "Stopped"


def session(resource: Resource, session_id: str) -> Session:
    """Return a session of any version of the platform; `session_id` is that by which it was asked for or found."""
    metadata, spec, state = resource.metadata, resource.spec, resource.status
    status = phase(resource) or SessionStatus.PENDING
    found = Session(
        id=session_id,
        status=status,
        activity=AGENT_STATES.get(state.agent_status or "") if status is SessionStatus.RUNNING else None,
        display_name=spec.display_name or None,
        task=spec.initial_prompt or spec.prompt or None,
        agent=_text(spec.environment_variables or {}, RUNNER_TYPE),
        model=(spec.llm_settings and spec.llm_settings.model) or spec.model or None,
        repos=_repos(spec.repos) if spec.repos else None,
        created_at=_time(metadata.creation_timestamp),
        completed_at=_time(state.completion_time),
        result=state.result or None,
        error=_error(state, failed=status is SessionStatus.FAILED),
        timeout_seconds=_count(spec.timeout) or None,  # current versions always return 0
    )
    if annotations := metadata.annotations:
        found.labels = _labels(annotations)
        found.idle_timeout_seconds = _whole(_text(annotations, IDLE_TIMEOUT))
        found.stop_on_run_finished = _FLAGS.get(_text(annotations, STOP_ON_RUN_FINISHED) or "")
        found.parent_session_id = _text(annotations, PARENT)
    return found


def in_transition(resource: Resource, session_id: str, status: SessionStatus) -> Session:
    """Return a session after a start or stop, given as it was before: the results of its last end are outdated."""
    before = session(resource, session_id)
    before.status = status
    before.completed_at = before.result = before.error = before.activity = None
    return before


def as_requested(new: SessionCreate, session_id: str) -> Session:
    """Return a session that was just created, as far as its request describes it."""
    return Session(
        id=session_id,
        status=SessionStatus.PENDING,
        display_name=new.display_name,
        task=new.task,
        agent=new.agent,
        model=new.model,
        repos=new.repos or None,
        labels=new.labels or None,
        timeout_seconds=new.timeout_seconds,
        idle_timeout_seconds=new.idle_timeout_seconds,
        stop_on_run_finished=new.stop_on_run_finished,
        parent_session_id=new.parent_session_id,
    )


def agent(runner: RunnerType, models: list[Model]) -> AgentSummary | None:
    """Return a type of runner with the models of its provider; None if it has no name."""
    if not runner.id:
        return None
    offered = [
        AgentChoice(id=model.id, name=model.label or None)
        for model in models
        if model.id and model.provider == runner.provider
    ]
    return AgentSummary(
        name=runner.id,
        kind=AgentKind.RUNNER,
        default=runner.id == DEFAULT_RUNNER_TYPE,
        available=True,
        title=runner.display_name or None,
        models=offered or None,
    )


def new_session(new: SessionCreate) -> dict[str, Any]:
    """Return the body of a create: only what the client sent, so that the platform's defaults apply."""
    body: dict[str, Any] = {"initialPrompt": new.task}
    if new.display_name is not None:
        body["displayName"] = new.display_name
    if new.agent is not None:
        body["runnerType"] = new.agent
    if new.model is not None:
        body["llmSettings"] = {"model": new.model}
    if new.repos:
        body["repos"] = [_present(url=repo.url, branch=repo.branch) for repo in new.repos]
    if (workflow := new.active_workflow) is not None:
        body["activeWorkflow"] = _present(gitUrl=workflow.git_url, branch=workflow.branch, path=workflow.path)
    if new.environment_variables:
        body["environmentVariables"] = new.environment_variables
    annotations = dict(new.labels or {})
    if new.timeout_seconds is not None:
        body["timeout"] = new.timeout_seconds
    if new.idle_timeout_seconds is not None:
        body["inactivityTimeout"] = new.idle_timeout_seconds
        annotations[IDLE_TIMEOUT] = str(new.idle_timeout_seconds)
    if new.stop_on_run_finished is not None:
        body["stopOnRunFinished"] = new.stop_on_run_finished
        annotations[STOP_ON_RUN_FINISHED] = "true" if new.stop_on_run_finished else "false"
    if annotations:
        body["annotations"] = annotations
    if new.parent_session_id is not None:
        body["parent_session_id"] = new.parent_session_id
    return body


def accepted_ids(accepted: dict[str, Any]) -> tuple[str | None, str | None]:
    """Return the run id and the thread id that the platform has accepted, each None if it returns none of use."""
    run_id = _text(accepted, "runId") or _text(accepted, "run_id")
    found = thread_id(_text(accepted, "threadId") or _text(accepted, "thread_id"))
    return run_id if run_id and len(run_id) <= _MAX_RUN_ID else None, found


def thread_id(text: str | None) -> str | None:
    """Return the id of a thread if it can be one in the API, else None."""
    return text if text and _THREAD_ID.fullmatch(text) else None


def log_line(event: PodEvent) -> str:
    """Return an event of a session's pod as a line of the session's log."""
    what = ": ".join(text for text in (event.reason, event.message) if text)
    often = f"({event.count} times)" if (event.count or 0) > 1 else None
    return " ".join(" ".join(text.split()) for text in (event.timestamp, event.type, what, often) if text)


def page(listed: Page, *, limit: int, offset: int) -> SessionPage:
    """Return a page of sessions; totals that the platform leaves out are worked out from the rest.

    Entries without a name are left out, and so are those beyond `limit`. A page without entries is the last one.
    Raises msgspec's errors for an entry that is not JSON.
    """
    given = listed.items or []
    entries = given[:limit]
    end = offset + len(entries)
    if len(given) <= limit:
        end = max(end, _count(listed.next_offset) or 0)
    total = _count(listed.total_count)
    has_more = len(given) > limit or (end < (total or 0) if listed.has_more is None else listed.has_more)
    return SessionPage.at_offset(
        [found for raw in map(bytes, entries) if (found := _listed_session(raw))],
        total=offset + len(entries) if total is None else total,
        limit=limit,
        offset=offset,
        end=end,
        has_more=bool(entries) and has_more and end <= _LARGEST,
    )


def _listed_session(raw: bytes) -> Session | None:
    return (_cached_session if len(raw) <= MAX_CACHED_BYTES else _read_session)(raw)


def _read_session(raw: bytes) -> Session | None:
    """Return a session of a list; None if it is not an object, or has no name or one that no path of the API takes."""
    entry = _read(raw)
    entry_name = name(entry) if entry else None
    return session(entry, entry_name) if entry and entry_name and _SESSION_ID.fullmatch(entry_name) else None


# Most sessions of a list are the same bytes as in the list before. A cached session must not be changed.
_cached_session = lru_cache(maxsize=2048)(_read_session)


def _error(state: Status, *, failed: bool) -> str | None:
    """Return why a session failed: the message of its Ready condition, or its one-word reason if that is not safe."""
    if state.error:
        return sanitize(state.error, "Session failed")
    ready = [condition for condition in state.conditions or () if condition.type == "Ready"] if failed else []
    for condition in ready:
        if condition.message:
            return safe_text(condition.message) or sanitize(condition.reason, "Session failed")
    return None


def _labels(annotations: dict[str, Any]) -> dict[str, str] | None:
    """Return the annotations that a client could have set as labels."""
    labels = {key: value for key, value in annotations.items() if isinstance(value, str) and is_label(key, value)}
    return labels or None


def _repos(entries: list[resources.Repo]) -> list[Repo] | None:
    """Return repositories, flat or under `input` as in older versions."""
    flat = [entry if entry.url else entry.input for entry in entries]
    return [Repo(url=entry.url, branch=entry.branch or None) for entry in flat if entry and entry.url] or None


def _time(text: str | None) -> str | None:
    """Return a time as RFC 3339 in UTC."""
    return _rfc3339(text) if text and len(text) <= MAX_TIME else None


@lru_cache(maxsize=4096)  # a client that polls a list gets the same times again
def _rfc3339(text: str) -> str | None:
    try:
        moment = datetime.fromisoformat(text)
        if _UTC.fullmatch(text):
            return text
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment.isoformat().replace("+00:00", "Z")


def _text(members: dict[str, Any], key: str) -> str | None:
    value = members.get(key)
    return value if isinstance(value, str) and value else None


def _whole(text: str | None) -> int | None:
    is_whole = text and text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS
    return _count(int(text)) if text and is_whole else None


def _count(value: int | None) -> int | None:
    return value if value is not None and 0 <= value <= _LARGEST else None


def _present(**members: Any) -> dict[str, Any]:
    return {key: value for key, value in members.items() if value is not None}
