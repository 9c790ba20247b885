"""Runs and messages."""

from enum import StrEnum
from typing import Any, Literal

from app.models.wire import WireModel


class RunStatus(StrEnum):
    """The status of a run. `unknown` is for a later server: this one does not send it.

    A run waits once its agent has ended it with interrupts. It becomes completed when another run continues it, and
    interrupted when its session is stopped.
    """

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    ERROR = "error"
    INTERRUPTED = "interrupted"
    UNKNOWN = "unknown"

    @property
    def has_ended(self) -> bool:
        """Return whether the agent has ended the run; another one continues a run that waits."""
        return self in {RunStatus.WAITING, RunStatus.COMPLETED, RunStatus.ERROR, RunStatus.INTERRUPTED}


class OnBusy(StrEnum):
    """How a run is accepted while another one is active or queued."""

    ENQUEUE = "enqueue"
    REJECT = "reject"
    INTERRUPT = "interrupt"


class Usage(WireModel):
    """The use of language models, as far as agents report it."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    cost_usd: float | None = None


class InterruptResult(WireModel):
    """The result of an interrupt.

    `interrupted` is True if the run has ended, False if none was running, None if its end was not seen in time.
    """

    message: str
    interrupted: bool | None


class Attachment(WireModel):
    """A file for the agent: one of the workspace by its `path`, or `data`, its bytes in base64, until that is saved."""

    path: str | None = None
    data: str | None = None
    media_type: str | None = None
    name: str | None = None


class MessageCreate(WireModel):
    """The body of send_message."""

    content: str
    attachments: list[Attachment] | None = None
    on_busy: OnBusy = OnBusy.ENQUEUE


class RunMessage(WireModel):
    """One message of create_run."""

    role: Literal["user", "assistant", "system"]
    content: str
    attachments: list[Attachment] | None = None
    id: str | None = None


class Resume(WireModel):
    """The response to one interrupt of an AG-UI agent."""

    interrupt_id: str
    status: Literal["resolved", "cancelled"]
    payload: Any = None


class RunCreate(WireModel):
    """The body of create_run. The agent gets `state` to `forwarded_props`, and `resume`, unchanged."""

    messages: list[RunMessage]
    run_id: str | None = None
    thread_id: str | None = None
    state: Any = None
    tools: list[dict[str, Any]] | None = None
    context: list[dict[str, Any]] | None = None
    forwarded_props: dict[str, Any] | None = None
    on_busy: OnBusy = OnBusy.ENQUEUE
    resume: list[Resume] | None = None


class AcceptedRun(WireModel):
    """A run that will reach a terminal state."""

    run_id: str
    thread_id: str


class RunSummary(WireModel):
    """One run, summarised from its events. `answer` is the text of its last assistant message, left out of lists.

    `continued_by` is the run that answers the interrupts with which this one ended.
    """

    run_id: str
    status: RunStatus
    event_count: int
    thread_id: str | None = None
    started_at: int | None = None
    finished_at: int | None = None
    user_message: str | None = None
    answer: str | None = None
    continued_by: str | None = None
    error: str | None = None
    usage: Usage | None = None


class RunList(WireModel):
    """All runs of a session in the order of their start, queued ones last."""

    session_id: str
    runs: list[RunSummary]
