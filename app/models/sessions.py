"""Sessions."""

from enum import StrEnum

from app.models.approvals import ApprovalPolicy
from app.models.runs import Attachment, RunStatus, Usage
from app.models.wire import WireModel


class SessionStatus(StrEnum):
    """The status of a session."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    COMPLETED = "completed"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Activity(StrEnum):
    """The activity of a running session: it waits for a decision, works on a run, or has nothing to do."""

    WORKING = "working"
    WAITING = "waiting"
    IDLE = "idle"
    UNKNOWN = "unknown"


class Repo(WireModel):
    """A git repository in the session's workspace."""

    url: str
    branch: str | None = None


class Workflow(WireModel):
    """A git repository whose `path` holds the agent's instructions."""

    git_url: str
    branch: str | None = None
    path: str | None = None


class WorkspaceMode(StrEnum):
    """How a session works on a local directory: in a git worktree of it, or in the directory itself."""

    WORKTREE = "worktree"
    IN_PLACE = "in_place"


class LocalDirectory(WireModel):
    """A directory of the server's machine as a workspace."""

    path: str
    mode: WorkspaceMode | None = None


class SessionCreate(WireModel):
    """The body of create_session."""

    task: str
    attachments: list[Attachment] | None = None
    display_name: str | None = None
    agent: str | None = None
    model: str | None = None
    mode: str | None = None
    repos: list[Repo] | None = None
    workspace: LocalDirectory | None = None
    active_workflow: Workflow | None = None
    environment_variables: dict[str, str] | None = None
    approval_policy: ApprovalPolicy | None = None
    labels: dict[str, str] | None = None
    timeout_seconds: int | None = None
    idle_timeout_seconds: int | None = None
    stop_on_run_finished: bool | None = None
    parent_session_id: str | None = None


class SessionUpdate(WireModel):
    """The body of update_session. A field that is None is left unchanged; a label whose value is None is removed."""

    display_name: str | None = None
    model: str | None = None
    mode: str | None = None
    labels: dict[str, str | None] | None = None
    remove_labels: list[str] | None = None
    timeout_seconds: int | None = None

    @property
    def label_changes(self) -> dict[str, str | None]:
        """Return the labels to set by key, and None for each label to remove, however the client said it."""
        return {**(self.labels or {}), **dict.fromkeys(self.remove_labels or ())}


class WaitingFor(WireModel):
    """The ids of the pending approvals."""

    approvals: list[str]


class Session(WireModel):
    """One agent that works in one workspace."""

    id: str
    status: SessionStatus
    activity: Activity | None = None
    display_name: str | None = None
    task: str | None = None
    agent: str | None = None
    model: str | None = None
    mode: str | None = None
    repos: list[Repo] | None = None
    workspace: LocalDirectory | None = None
    created_at: str | None = None
    completed_at: str | None = None
    result: str | None = None
    error: str | None = None
    approval_policy: ApprovalPolicy | None = None
    waiting_for: WaitingFor | None = None
    labels: dict[str, str] | None = None
    timeout_seconds: int | None = None
    idle_timeout_seconds: int | None = None
    stop_on_run_finished: bool | None = None
    parent_session_id: str | None = None
    active_run_id: str | None = None
    last_run_status: RunStatus | None = None
    usage: Usage | None = None
    workspace_bytes: int | None = None

    @property
    def is_settled(self) -> bool:
        """Return whether the session is neither pending nor working."""
        return self.status is not SessionStatus.PENDING and self.activity is not Activity.WORKING


class CreatedSession(Session, kw_only=True):
    """The response to create_session. `run_id` is the run of the task, if the backend knows it."""

    message: str
    run_id: str | None = None


class SessionPage(WireModel):
    """One page of a project's sessions, newest first; `total` counts all that match, not only the page."""

    items: list[Session]
    total: int
    limit: int
    offset: int
    has_more: bool
    next_offset: int | None = None

    @classmethod
    def at_offset(
        cls,
        items: list[Session],
        *,
        total: int,
        limit: int,
        offset: int,
        end: int | None = None,
        has_more: bool | None = None,
    ) -> "SessionPage":
        """Return the page that begins at `offset`, with where the next one begins if there is one.

        `end` is the offset after the page's last session, counted from `items` by default. Whether more follow is
        worked out from `total`, unless `has_more` says it; a page without sessions is the last one.
        """
        end = offset + len(items) if end is None else end
        more = offset < end < total if has_more is None else has_more
        next_offset = end if more else None
        return cls(items=items, total=total, limit=limit, offset=offset, has_more=more, next_offset=next_offset)
