"""The log of one run: the agent's events, completed so that there is one beginning and exactly one terminal event.

The input that RUN_STARTED gets holds only the messages that are new with this run. The log has the earlier ones, and
repeating them in every run would make it grow with the square of the conversation.
"""

from collections.abc import Iterable

import msgspec

from app.agui.answer import AnswerReader
from app.agui.events import Event, decode, decode_one
from app.agui.lenient import UNREADABLE
from app.agui.lifecycle_events import OpenParts, run_cancelled, run_error, run_started
from app.agui.outcome import RunOutcome, read_outcome
from app.agui.stamp import stamp_event
from app.agui.whole_text import HalfJoiner
from app.models.runs import RunStatus


class Failure(msgspec.Struct, frozen=True):
    """The reason for which the engine ends a run with RUN_ERROR: a stable code and a sentence for the client."""

    code: str
    message: str


PROTOCOL_ERROR = Failure("agent_protocol_error", "The agent sent something that is not an AG-UI event.")
ENDED_EARLY = Failure("agent_ended_early", "The agent ended without a terminal event.")
RUN_TIMEOUT = Failure("run_timeout", "The run took longer than it may and was ended.")
TOO_MANY_APPROVALS = Failure("too_many_questions", "The agent requested more approvals than it may in one run.")
SERVER_RESTARTED = Failure("server_restarted", "The server was restarted during the run.")
INTERNAL_ERROR = Failure("internal_error", "The run ended because of an internal error.")


class ProtocolError(Exception):
    """The agent sent something that is not an AG-UI event."""


class RunRecorder:
    """The state of one run's log; `outcome` is set once it has a terminal event.

    `stored` are the events that it has already. Times are in ms. Each method returns the events to add to the log.
    """

    def __init__(self, run_id: str, thread_id: str, run_input: msgspec.Raw, stored: Iterable[msgspec.Raw] = ()) -> None:
        self.outcome: RunOutcome | None = None
        self._run_id = run_id
        self._thread_id = thread_id
        self._input = run_input
        self._started = False
        self._parts = OpenParts()
        self._answer = AnswerReader()
        self._texts = HalfJoiner()
        for event in decode(stored):
            self._observe(event)

    def record(self, raw: bytes, now: int) -> list[bytes]:
        """Add an event of the agent, with this run's ids and a time; nothing once the run has ended.

        RUN_STARTED comes before it if the agent has not sent one, and is added only once. Open parts are closed before
        a terminal event. Half a character at the end of a delta comes with the next one. Raises ProtocolError if `raw`
        is not an event.
        """
        if self.outcome:
            return []
        try:
            events = self._texts.add(raw)
        except UNREADABLE as error:
            raise ProtocolError from error
        return [recorded for event in events for recorded in self._record(event, now)]

    def _record(self, raw: bytes, now: int) -> list[bytes]:
        event = _parse(raw)
        starts = event.type == "RUN_STARTED"
        if starts and self._started:
            return []
        before = [] if starts else self._start(now)
        if event.type in {"RUN_FINISHED", "RUN_ERROR"}:
            before += self._close_parts(now)
        self._observe(event)
        return [*before, stamp_event(raw, self._run_id, self._thread_id, now, self._input if starts else None)]

    def fail(self, failure: Failure, now: int) -> list[bytes]:
        """End the run with RUN_ERROR; nothing if it has ended."""
        if self.outcome:
            return []
        texts = self._complete_texts(now)
        self._end(RunOutcome(RunStatus.ERROR, failure.message))
        error = run_error(self._thread_id, self._run_id, failure.message, failure.code, now)
        return [*texts, *self._start(now), *self._close_parts(now), error]

    def interrupt(self, now: int) -> list[bytes]:
        """End the run as interrupted; nothing if it has ended."""
        if self.outcome:
            return []
        texts = self._complete_texts(now)
        self._end(RunOutcome(RunStatus.INTERRUPTED))
        return [*texts, *self._start(now), *self._close_parts(now), run_cancelled(self._thread_id, self._run_id, now)]

    def cancel_queued(self, now: int) -> list[bytes]:
        """End a run that never began as interrupted; its messages do not become part of the conversation."""
        self._started = True
        return [run_started(self._thread_id, self._run_id, None, now), *self.interrupt(now)]

    def _start(self, now: int) -> list[bytes]:
        if self._started:
            return []
        self._started = True
        return [run_started(self._thread_id, self._run_id, self._input, now)]

    def _complete_texts(self, now: int) -> list[bytes]:
        return [recorded for event in self._texts.finish() for recorded in self._record(event, now)]

    def _close_parts(self, now: int) -> list[bytes]:
        return self._parts.close(self._thread_id, self._run_id, now)

    def _observe(self, event: Event) -> None:
        self._parts.observe(event)
        self._answer.feed([event])
        if event.type == "RUN_STARTED":
            self._started = True
        elif outcome := read_outcome(event):
            self._end(outcome)

    def _end(self, outcome: RunOutcome) -> None:
        self.outcome = msgspec.structs.replace(outcome, answer=self._answer.answer)


def _parse(raw: bytes) -> Event:
    event = decode_one(raw, 1)
    if event is None or not event.type:
        raise ProtocolError
    return event
