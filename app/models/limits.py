"""Bounds on the streams, sessions and stored bytes of a caller, and the usage of their project."""

from collections.abc import Awaitable, Callable

import msgspec

from app.models.wire import WireModel


class Limits(WireModel):
    """Bounds of a server; none where there is no bound.

    `max_streams` are event streams and long polls of one token, `max_sessions` those of a project that have not ended.
    `max_run_bytes`, `max_session_bytes` and `max_project_bytes` are stored bytes: of one run's log, of a session, and
    of a project. The others are bytes on disk: of the workspace and the home of a session, and of all of a project.
    """

    max_streams: int | None = None
    max_sessions: int | None = None
    max_run_bytes: int | None = None
    max_session_bytes: int | None = None
    max_project_bytes: int | None = None
    max_workspace_bytes: int | None = None
    max_project_workspace_bytes: int | None = None


class ProjectUsage(WireModel):
    """The sessions of a project that have not ended, its stored bytes, and the bytes of its workspaces and homes."""

    sessions: int
    stored_bytes: int
    workspace_bytes: int


class Rate(msgspec.Struct, frozen=True):
    """A token bucket: `burst` requests at once, refilled at `rps` a second."""

    rps: int
    burst: int


class RequestsTaken(msgspec.Struct, frozen=True):
    """How many requests a client may send, and if none, how many seconds it has to wait for the next."""

    count: int
    wait: float = 0.0


TakeRequests = Callable[[bytes, Rate, int], Awaitable[RequestsTaken]]
"""Takes up to so many requests from the bucket of a client, which a digest names."""
