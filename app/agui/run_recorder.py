"""What goes into the log of one run: the agent's events, made whole, up to exactly one terminal event.

The `input` that RUN_STARTED gets holds only the messages that are new with this run: the earlier ones are in the log
already, and to repeat them in each run would make a log grow with the square of the conversation.
"""

from collections.abc import Iterable

import msgspec

from app.agui.events import Event, decode
from app.agui.lifecycle_events import OpenParts, run_cancelled, run_error, run_started
from app.agui.outcome import Interrupt, error_message, interrupts_of, outcome
from app.agui.stamp import with_ids
from app.agui.usage import usage
from app.models.runs import RunStatus, Usage


class Failure(msgspec.Struct, frozen=True):
    """Why the engine ends a run with RUN_ERROR: a stable code and a sentence for the client."""

    code: str
    message: str


PROTOCOL_ERROR = Failure("agent_protocol_error", "The agent sent something that is no AG-UI event.")
ENDED_EARLY = Failure("agent_ended_early", "The agent ended without saying how the run ended.")
RUN_TIMEOUT = Failure("run_timeout", "The run took longer than it may and was ended.")
TOO_MANY_APPROVALS = Failure("too_many_questions", "The agent asked more than it may in one run.")
SERVER_RESTARTED = Failure("server_restarted", "The server was restarted during the run.")
INTERNAL_ERROR = Failure("internal_error", "The run ended because of an internal error.")
REPORTED = "The agent reported an error."


class RunOutcome(msgspec.Struct, frozen=True):
    """How a run ended: a final status, an error's text, what the agent asks at the end, what was used of models."""

    status: RunStatus
    error: str | None = None
    interrupts: tuple[Interrupt, ...] = ()
    usage: Usage | None = None


class ProtocolError(Exception):
    """The agent sent something that is no AG-UI event."""


class RunRecorder:
    """The state of one run's log; `ending` is set once the terminal event is in it."""

    def __init__(self, run_id: str, thread_id: str, run_input: bytes, stored: Iterable[msgspec.Raw] = ()) -> None:
        self.outcome: RunOutcome | None = None
        self._run_id = run_id
        self._thread_id = thread_id
        self._input = run_input
        self._started = False
        self._parts = OpenParts()
        for event in decode(stored):
            self._observe(event)

    def record(self, raw: bytes, now: int) -> list[bytes]:
        """What an event of the agent adds to the log at `now` (ms); nothing once the run has ended.

        Ids are ours, a missing timestamp is `now`; RUN_STARTED comes first and once; what is open is closed before
        the run ends. `ProtocolError` if `raw` is no event.
        """
        if self.outcome:
            return []
        event = _parsed(raw)
        news: list[bytes] = []
        starts = event.type == "RUN_STARTED"
        if starts and self._started:
            return []
        if not starts:
            news += self._opening(now)
        if event.type in {"RUN_FINISHED", "RUN_ERROR"}:
            news += self._closing(now)
        self._observe(event)
        input_ = self._input if starts else None
        return [*news, with_ids(raw, self._run_id, self._thread_id, now, input_)]

    def fail(self, failure: Failure, now: int) -> list[bytes]:
        """End the run with RUN_ERROR; nothing if it has ended."""
        if self.outcome:
            return []
        self.outcome = RunOutcome(RunStatus.ERROR, failure.message)
        error = run_error(
            thread_id=self._thread_id,
            run_id=self._run_id,
            message=failure.message,
            code=failure.code,
            timestamp=now,
        )
        return [*self._opening(now), *self._closing(now), error]

    def interrupt(self, now: int) -> list[bytes]:
        """End the run as interrupted; nothing if it has ended."""
        if self.outcome:
            return []
        self.outcome = RunOutcome(RunStatus.INTERRUPTED)
        finished = run_cancelled(thread_id=self._thread_id, run_id=self._run_id, timestamp=now)
        return [*self._opening(now), *self._closing(now), finished]

    def cancel_queued(self, now: int) -> list[bytes]:
        """End a run that never began as interrupted; its messages do not become part of the conversation."""
        self._started = True
        started = run_started(thread_id=self._thread_id, run_id=self._run_id, input=None, timestamp=now)
        return [started, *self.interrupt(now)]

    def _opening(self, now: int) -> list[bytes]:
        if self._started:
            return []
        self._started = True
        return [run_started(thread_id=self._thread_id, run_id=self._run_id, input=self._input, timestamp=now)]

    def _closing(self, now: int) -> list[bytes]:
        return self._parts.close(self._thread_id, self._run_id, now)

    def _observe(self, event: Event) -> None:
        self._parts.observe(event)
        if event.type == "RUN_STARTED":
            self._started = True
        elif status := outcome(event):
            error = (error_message(event) or REPORTED) if status is RunStatus.ERROR else None
            self.outcome = RunOutcome(status, error, tuple(interrupts_of(event)), usage(event))


def _parsed(raw: bytes) -> Event:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError from error
    event = next(decode([raw]), None)
    if event is None or not event.type:
        raise ProtocolError
    return event
