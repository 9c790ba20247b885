"""The log of one run: the agent's events, completed so that there is one beginning and exactly one terminal event.

The input that RUN_STARTED gets holds only the messages that are new with this run. The log has the earlier ones, and
repeating them in every run would make it grow with the square of the conversation.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from app.agui.answer import AnswerReader
from app.agui.events import Event, decode, decode_one
from app.agui.lenient import UNREADABLE, Json, members, reader
from app.agui.lifecycle_events import OpenParts, run_cancelled, run_error, run_started
from app.agui.older_interrupts import OlderInterrupts
from app.agui.outcome import RunOutcome, read_outcome
from app.agui.usage import total
from app.agui.whole_text import HalfJoiner
from app.models.runs import RunStatus, Usage

_string = reader(str)


class Failure(msgspec.Struct, frozen=True):
    """The reason for which the engine ends a run with RUN_ERROR: a stable code and a sentence for the client."""

    code: str
    message: str


PROTOCOL_ERROR = Failure("agent_protocol_error", "The agent sent something that is not an AG-UI event.")
ENDED_EARLY = Failure("agent_ended_early", "The agent ended without a terminal event.")
RUN_TIMEOUT = Failure("run_timeout", "The run took longer than it may and was ended.")
TOO_MANY_APPROVALS = Failure("too_many_questions", "The agent requested more approvals than it may in one run.")
RUN_TOO_LARGE = Failure("run_too_large", "The run produced more than it may and was ended.")
WORKSPACE_TOO_LARGE = Failure("workspace_too_large", "The workspace took more of the disk than it may.")
SERVER_RESTARTED = Failure("server_restarted", "The server was restarted during the run.")
WORKER_LOST = Failure("worker_lost", "The worker that executed the run is gone.")
INTERNAL_ERROR = Failure("internal_error", "The run ended because of an internal error.")


class ProtocolError(Exception):
    """The agent sent something that is not an AG-UI event."""


class _HeldEnd(NamedTuple):
    """The terminal event of a run, and the outcome that it stands for."""

    event: bytes
    outcome: RunOutcome


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
        self._held: _HeldEnd | None = None
        self._usage: Usage | None = None
        self._questions = OlderInterrupts(run_id)
        self._parts = OpenParts()
        self._answer = AnswerReader()
        self._texts = HalfJoiner()
        for event in decode(stored):
            if outcome := self._observe(event):
                self._end(outcome)

    def record(self, raw: bytes, now: int) -> list[bytes]:
        """Add an event of the agent, with this run's ids and a time; nothing once the run has ended.

        RUN_STARTED comes before it if the agent has not sent one, and is added only once. Open parts are closed before
        a terminal event. Half a character at the end of a delta comes with the next one. The end of a run that leaves
        nothing open is held until `release`, since another RUN_STARTED may follow in the same answer, whose events
        belong to this run too. Raises ProtocolError if `raw` is not an event.
        """
        if self.outcome:
            return []
        if self._held:
            self._go_on_with(raw)
            return []
        try:
            events = self._texts.add(raw)
        except UNREADABLE as error:
            raise ProtocolError from error
        return [recorded for event in events for recorded in self._record(event, now)]

    @property
    def is_ending(self) -> bool:
        """Whether the agent has ended the run, and the end is held."""
        return self._held is not None

    def release(self) -> list[bytes]:
        """End the run with the end that is held; nothing if none is."""
        if not self._held:
            return []
        held, self._held = self._held, None
        self._end(held.outcome)
        return [held.event]

    def _go_on_with(self, raw: bytes) -> None:
        """Forget the end that is held if an event begins another run."""
        with suppress(ProtocolError, *UNREADABLE):
            if self._held and _parse(raw).type == "RUN_STARTED":
                self._usage = total((self._usage, self._held.outcome.usage))
                self._held = None

    def _record(self, raw: bytes, now: int) -> list[bytes]:
        event = _parse(raw)
        starts = event.type == "RUN_STARTED"
        if starts and self._started:
            return []
        before = [] if starts else self._start(now)
        if event.type in {"RUN_FINISHED", "RUN_ERROR"}:
            before += self._close_parts(now)
        stamped = stamp_event(raw, self._run_id, self._thread_id, now, self._input if starts else None)
        outcome = self._observe(event)
        if outcome is None:
            return [*before, stamped]
        if outcome.status is RunStatus.COMPLETED:
            self._held = _HeldEnd(stamped, outcome)
            return before
        self._end(outcome)
        return [*before, stamped]

    def fail(self, failure: Failure, now: int) -> list[bytes]:
        """End the run with RUN_ERROR, or with the end that is held; nothing if it has ended."""
        if self.outcome or self._held:
            return self.release()
        texts = self._complete_texts(now)
        self._end(RunOutcome(RunStatus.ERROR, failure.message))
        error = run_error(self._thread_id, self._run_id, failure.message, failure.code, now)
        return [*texts, *self._start(now), *self._close_parts(now), error]

    def interrupt(self, now: int) -> list[bytes]:
        """End the run as interrupted, or with the end that is held; nothing if it has ended."""
        if self.outcome or self._held:
            return self.release()
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

    def _observe(self, event: Event) -> RunOutcome | None:
        """Take over what an event says; return how it ends the run if it does."""
        self._parts.observe(event)
        self._answer.feed([event])
        self._questions.observe(event)
        if event.type == "RUN_STARTED":
            self._started = True
        outcome = read_outcome(event)
        if outcome and outcome.status is RunStatus.COMPLETED and (open_ := self._questions.at_end(event)):
            return msgspec.structs.replace(outcome, status=RunStatus.WAITING, interrupts=open_)
        return outcome

    def _end(self, outcome: RunOutcome) -> None:
        usage = total((self._usage, outcome.usage)) if self._usage else outcome.usage
        self.outcome = msgspec.structs.replace(outcome, usage=usage, answer=self._answer.answer)


def _parse(raw: bytes) -> Event:
    event = decode_one(raw, 1)
    if event is None or not event.type:
        raise ProtocolError
    return event


def stamp_event(raw: Json, run_id: str, thread_id: str, timestamp: int, run_input: Any = None) -> bytes:
    """Return the event with these ids, with `timestamp` (ms) if it has none, and RUN_STARTED with an input.

    `run_input`, a dict or JSON as `msgspec.Raw`, goes into a RUN_STARTED without one. Every other member keeps its
    bytes and its place (but an unpaired surrogate becomes U+FFFD), and an event that needs no change keeps all of them.
    Raises ValueError if `raw` is not a JSON object in UTF-8.
    """
    event = bytes(raw)
    event.decode()
    values = members(event)
    if values is None:
        raise ValueError("not a JSON object")
    changes: dict[str, Any] = {}
    for id_, name, snake_name in ((run_id, "runId", "run_id"), (thread_id, "threadId", "thread_id")):
        if name not in values or _string(values[name]) != id_:
            changes[name] = id_
        if snake_name in values and _string(values[snake_name]) != id_:
            changes[snake_name] = id_
    if _absent(values, "timestamp"):
        changes["timestamp"] = timestamp
    if run_input is not None and _absent(values, "input") and _string(values.get("type", b"")) == "RUN_STARTED":
        changes["input"] = run_input
    return msgspec.json.encode({**values, **changes}) if changes else event


def _absent(values: dict[str, msgspec.Raw], name: str) -> bool:
    # The official client rejects an event with a null member, so null counts as absent.
    return name not in values or bytes(values[name]) == b"null"
