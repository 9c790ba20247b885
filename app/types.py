"""What crosses the port: plain values whose field names are the names on the wire.

A field that is None is left out of an answer. Session times are RFC 3339 UTC strings, run and event times integer
milliseconds since 1970. `msgspec.Raw` holds JSON that passes through byte for byte.
"""

from enum import StrEnum
from typing import Any, Literal

import msgspec


class Role(StrEnum):
    """What a token may do in its project: look, also create and control, also delete."""

    VIEW = "view"
    EDIT = "edit"
    ADMIN = "admin"


class SessionStatus(StrEnum):
    """Where a session is in its life."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    COMPLETED = "completed"
    FAILED = "failed"
    UNKNOWN = "unknown"


class RunStatus(StrEnum):
    """Where a run is; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    ERROR = "error"
    INTERRUPTED = "interrupted"

    @property
    def is_final(self) -> bool:
        """Whether the run has ended."""
        return self not in {RunStatus.QUEUED, RunStatus.RUNNING}


class OnBusy(StrEnum):
    """What becomes of a new run while another one is active or waits."""

    ENQUEUE = "enqueue"
    REJECT = "reject"
    INTERRUPT = "interrupt"


class ApprovalPolicy(StrEnum):
    """What happens when the agent asks before it does something."""

    ASK = "ask"
    ALLOW = "allow"
    DENY = "deny"


class ApprovalStatus(StrEnum):
    """Where an approval is; the last three are final."""

    PENDING = "pending"
    ALLOWED = "allowed"
    DENIED = "denied"
    EXPIRED = "expired"


class Decision(StrEnum):
    """The answer to an approval."""

    ALLOW = "allow"
    DENY = "deny"


class OutputFormat(StrEnum):
    """How a session's log is read."""

    TRANSCRIPT = "transcript"
    COMPACT = "compact"
    EVENTS = "events"


class Credentials(msgspec.Struct, frozen=True):
    """What a request says of its sender: the token, and the project if a header or the token names one."""

    token: str
    project: str | None


class Once(msgspec.Struct):
    """A request that is to have its effect once: digests of its Idempotency-Key with the sender, and of all it says.

    `replayed` is set by the backend that gives the first answer again.
    """

    key: bytes
    fingerprint: bytes
    replayed: bool = False


class Caller(msgspec.Struct, frozen=True):
    """A sender whose project is settled and whose role, as far as the backend judges it, suffices."""

    token: str
    project: str
    once: Once | None = None


class Value(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Base of everything that is JSON on the wire."""


class Repo(Value):
    """A git repository in the session's workspace."""

    url: str
    branch: str | None = None


class Workflow(Value):
    """A git repository whose `path` holds the agent's instructions."""

    git_url: str
    branch: str | None = None
    path: str | None = None


class NewSession(Value):
    """The body of create_session."""

    task: str
    display_name: str | None = None
    model: str | None = None
    repos: list[Repo] | None = None
    active_workflow: Workflow | None = None
    environment_variables: dict[str, str] | None = None
    approval_policy: ApprovalPolicy | None = None
    labels: dict[str, str] | None = None
    timeout_seconds: int | None = None
    parent_session_id: str | None = None


class SessionPatch(Value):
    """The body of update_session; what is None stays as it is, a label whose value is None goes."""

    display_name: str | None = None
    labels: dict[str, str | None] | None = None
    timeout_seconds: int | None = None


class Usage(Value):
    """What runs have used of language models, as far as their agents report it."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    cost_usd: float | None = None


class WaitingFor(Value):
    """The ids of the approvals that wait for an answer."""

    approvals: list[str]


class Session(Value):
    """One agent in one workspace."""

    id: str
    status: SessionStatus
    display_name: str | None = None
    task: str | None = None
    model: str | None = None
    repos: list[Repo] | None = None
    created_at: str | None = None
    completed_at: str | None = None
    result: str | None = None
    error: str | None = None
    approval_policy: ApprovalPolicy | None = None
    waiting_for: WaitingFor | None = None
    labels: dict[str, str] | None = None
    timeout_seconds: int | None = None
    parent_session_id: str | None = None
    active_run_id: str | None = None
    usage: Usage | None = None


class CreatedSession(Session, kw_only=True):
    """The answer to create_session."""

    message: str


class SessionPage(Value):
    """One page of a project's sessions, newest first; `total` counts all that match."""

    items: list[Session]
    total: int
    limit: int
    offset: int
    has_more: bool
    next_offset: int | None = None


class Interruption(Value):
    """What became of an interrupt: True its end was seen, False nothing was running, None not seen in time."""

    message: str
    interrupted: bool | None


class NewMessage(Value):
    """The body of send_message."""

    content: str
    on_busy: OnBusy = OnBusy.ENQUEUE


class RunMessage(Value):
    """One message of create_run."""

    role: Literal["user", "assistant", "system"]
    content: str
    id: str | None = None


class Resume(Value):
    """The answer to one interrupt of an AG-UI agent."""

    interrupt_id: str
    status: Literal["resolved", "cancelled"]
    payload: Any = None


class NewRun(Value):
    """The body of create_run; `state` to `forwarded_props` and `resume` go to the agent as they are."""

    messages: list[RunMessage]
    run_id: str | None = None
    thread_id: str | None = None
    state: Any = None
    tools: list[dict[str, Any]] | None = None
    context: list[dict[str, Any]] | None = None
    forwarded_props: dict[str, Any] | None = None
    on_busy: OnBusy = OnBusy.ENQUEUE
    resume: list[Resume] | None = None


class AcceptedRun(Value):
    """A run that will reach a terminal state."""

    run_id: str
    thread_id: str


class RunSummary(Value):
    """One run, as its events tell it; times in ms."""

    run_id: str
    status: RunStatus
    event_count: int
    thread_id: str | None = None
    started_at: int | None = None
    finished_at: int | None = None
    user_message: str | None = None
    error: str | None = None
    usage: Usage | None = None


class RunList(Value):
    """All runs of a session in the order of their start, queued ones last."""

    session_id: str
    runs: list[RunSummary]


class ApprovalOption(Value):
    """One of the answers that an agent offers."""

    id: str
    name: str | None = None
    kind: str | None = None


class Approval(Value):
    """Something that the agent may do only once it is allowed; times are RFC 3339."""

    id: str
    run_id: str
    status: ApprovalStatus
    created_at: str
    message: str | None = None
    tool_name: str | None = None
    args: Any = None
    options: list[ApprovalOption] | None = None
    response_schema: dict[str, Any] | None = None
    expires_at: str | None = None


class ApprovalList(Value):
    """What the agent of a session waits for, oldest first."""

    items: list[Approval]


class ApprovalAnswer(Value):
    """The body of answer_approval."""

    decision: Decision
    payload: dict[str, Any] | None = None


class ToolCall(Value):
    """A tool call in a transcript; `duration` in ms."""

    id: str
    name: str | None = None
    args: str | None = None
    result: str | None = None
    status: Literal["pending", "running", "completed", "error"] | None = None
    duration: int | None = None


class Message(Value):
    """A message of the conversation; `timestamp` is RFC 3339."""

    id: str
    role: str
    content: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    timestamp: str | None = None


class Transcript(Value):
    """A session's log read as a conversation."""

    session_id: str
    format: Literal[OutputFormat.TRANSCRIPT]
    messages: list[Message]


EventFormat = Literal[OutputFormat.COMPACT, OutputFormat.EVENTS]


class EventLog(Value):
    """A session's log read as AG-UI events, as stored or compacted; `next_after` leads on where there is more."""

    session_id: str
    format: EventFormat
    events: list[msgspec.Raw]
    next_after: int | None = None


class Page(msgspec.Struct, frozen=True):
    """Which part of a log: behind the position `after`, at most `limit` events and `max_bytes` bytes, at least one."""

    after: int = 0
    limit: int | None = None
    max_bytes: int = 1 << 20
