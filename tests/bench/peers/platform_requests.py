"""A peer's requests to the platform, and how their responses are mapped to the API."""

import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

Json = dict[str, Any]

STATUSES = {
    "Pending": "pending",
    "Creating": "pending",
    "Initializing": "pending",
    "Running": "running",
    "Active": "running",
    "Completed": "completed",
    "Succeeded": "completed",
    "Failed": "failed",
    "Error": "failed",
    "Stopping": "stopping",
    "Stopped": "stopped",
}


class PlatformRequest(NamedTuple):
    """A request to the platform, and the function that maps its response."""

    method: str
    path: str
    token: str
    read: Callable[[Json], Json]
    query: dict[str, int] | None = None
    body: Json | None = None


def session(token: str, project: str, name: str) -> PlatformRequest:
    """Return the request for a session."""
    return PlatformRequest("GET", f"{project}/agentic-sessions/{name}", token, public)


def page(token: str, project: str, limit: int, offset: int) -> PlatformRequest:
    """Return the request for a page of sessions."""

    def read(found: Json) -> Json:
        more = {"has_more": found["hasMore"]} | ({"next_offset": found["nextOffset"]} if found["hasMore"] else {})
        items = [public(each) for each in found["items"]]
        return {"items": items, "total": found["totalCount"], "limit": limit, "offset": offset, **more}

    return PlatformRequest("GET", f"{project}/agentic-sessions", token, read, query={"limit": limit, "offset": offset})


def run(token: str, project: str, name: str, content: str) -> PlatformRequest:
    """Return the request for a run with one message."""
    body = {
        "threadId": name,
        "runId": str(uuid.uuid4()),
        "messages": [{"id": str(uuid.uuid4()), "role": "user", "content": content}],
        "state": {},
        "tools": [],
        "context": [],
        "forwardedProps": {},
    }
    return PlatformRequest("POST", f"{project}/agentic-sessions/{name}/agui/run", token, _accepted, body=body)


def export(token: str, project: str, name: str) -> PlatformRequest:
    """Return the request for a session's log, which is not mapped."""
    return PlatformRequest("GET", f"{project}/agentic-sessions/{name}/export", token, dict)


def public(found: Json) -> Json:
    """Return a session as the API shows it."""
    metadata, spec, status = found["metadata"], found["spec"], found.get("status", {})
    fields = {
        "id": metadata["name"],
        "status": STATUSES.get(status.get("phase", "Pending"), "unknown"),
        "display_name": spec.get("displayName"),
        "task": spec.get("initialPrompt"),
        "model": spec.get("llmSettings", {}).get("model"),
        "repos": [{"url": repo["url"], "branch": repo.get("branch")} for repo in spec.get("repos", [])],
        "created_at": metadata.get("creationTimestamp"),
        "completed_at": status.get("completionTime"),
        "error": _failure(status) if status.get("phase") in {"Failed", "Error"} else None,
        "timeout_seconds": spec.get("timeout"),
    }
    return {key: value for key, value in fields.items() if value}


def _failure(status: Json) -> str | None:
    ready = (each.get("message") for each in status.get("conditions", []) if each.get("type") == "Ready")
    return next(ready, None)


def _accepted(found: Json) -> Json:
    return {"run_id": found["runId"], "thread_id": found["threadId"]}
