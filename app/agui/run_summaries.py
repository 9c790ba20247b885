"""What became of each run, from its events."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter

import msgspec

from app.agui.events import EventHeader
from app.agui.lenient import Lenient
from app.agui.messages import content_text, input_messages, last_user_text, snapshot_messages
from app.agui.outcome import error_message, final_status, merge_statuses
from app.agui.run_filter import normalize_run_id
from app.agui.usage import cost_delta, usage
from app.models.runs import RunStatus, RunSummary, Usage


class _TextMessage(msgspec.Struct, gc=False):
    role: str | None = None
    content: msgspec.Raw = msgspec.Raw()


_text_message = Lenient(_TextMessage)

# What other events tell of a run is that it had them, and when.
_SUMMARIZED = frozenset({"RUN_STARTED", "TEXT_MESSAGE_START", "MESSAGES_SNAPSHOT", "RUN_FINISHED", "RUN_ERROR"})


class _Run(msgspec.Struct, eq=False):
    """A run so far; `begun` is the position of its RUN_STARTED, or of the first event that only a run at work sends."""

    run_id: str
    first: int
    begun: int | None = None
    started: bool = False
    thread_id: str | None = None
    started_at: int | None = None
    finished_at: int | None = None
    last_at: int | None = None
    event_count: int = 0
    outcome: RunStatus | None = None
    error: str | None = None
    usage: Usage | None = None
    input_message: str | None = None
    text_message: str | None = None
    snapshot_message: str | None = None

    def feed(self, events: Sequence[EventHeader]) -> None:
        """Add some events of the run; nearly all of them are deltas, which are not looked at one by one."""
        self.event_count += len(events)
        if self.thread_id is None:
            self.thread_id = next((event.thread_id for event in events if event.thread_id), None)
        if self.begun is None:
            self.begun = next((event.position for event in events if event.type != "RAW"), None)
        if self.started_at is None:
            self.started_at = _first_time(events)
        seen = 0
        for index in [index for index, event in enumerate(events) if event.type in _SUMMARIZED]:
            self._pass(events[seen : index + 1])
            self._observe(events[index])
            seen = index + 1
        self._pass(events[seen:])

    def _pass(self, events: Sequence[EventHeader]) -> None:
        if (time := _first_time(reversed(events))) is not None:
            self.last_at = time

    def _observe(self, event: EventHeader) -> None:
        if event.type == "RUN_STARTED":
            self._start(event)
        elif event.type == "TEXT_MESSAGE_START" and self.input_message is None and self.text_message is None:
            said = _text_message(event.raw)
            self.text_message = (content_text(said.content) or None) if said and said.role == "user" else None
        elif event.type == "MESSAGES_SNAPSHOT" and self.input_message is None and self.text_message is None:
            self.snapshot_message = last_user_text(snapshot_messages(event.raw))
        elif status := final_status(event):
            self.outcome = merge_statuses(self.outcome, status)
            self.finished_at = self.last_at
            self.error = error_message(event) or self.error
            self.usage = usage(event) or self.usage

    def _start(self, event: EventHeader) -> None:
        if not self.started:
            self.started = True
            self.begun = event.position
            self.started_at = event.timestamp if event.timestamp is not None else self.started_at
        if self.input_message is None:
            self.input_message = last_user_text(input_messages(event.raw))

    @property
    def user_message(self) -> str | None:
        return self.input_message or self.text_message or self.snapshot_message


def _first_time(events: Iterable[EventHeader]) -> int | None:
    return next((event.timestamp for event in events if event.timestamp is not None), None)


def summaries(events: Iterable[EventHeader], *, session_running: bool) -> list[RunSummary]:
    """One summary for each run of a log of the platform, in the order of their start; error texts are as it has them.

    A run without a terminal event is running only while its session is and no later run of its thread has begun; any
    other such run broke off and counts as an error. Events without a run id belong to no run.
    """
    runs = Runs()
    runs.feed(list(events))
    return runs.summaries(session_running=session_running)


class Runs:
    """What `summaries` does, for events that come one by one."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}

    def feed(self, events: Iterable[EventHeader]) -> None:
        """Add the next events of the log."""
        for run_id, group in groupby(events, attrgetter("run_id")):
            if run_id is None:
                continue
            adjacent = list(group)
            run = self._runs.get(run_id)
            if run is None:
                run = self._runs[run_id] = _Run(run_id, first=adjacent[0].position)
            run.feed(adjacent)

    def has(self, run_id: str) -> bool:
        """Whether there is an event of the run."""
        return normalize_run_id(run_id) in map(normalize_run_id, self._runs)

    def summaries(self, *, session_running: bool) -> list[RunSummary]:
        """One summary for each run as far as they have been told."""
        ordered = sorted(self._runs.values(), key=lambda run: run.first if run.begun is None else run.begun)
        last_begun = {run.thread_id: run for run in ordered if run.begun is not None}
        return [
            RunSummary(
                run_id=run.run_id,
                status=run.outcome
                or _status_without_end(run, last_begun.get(run.thread_id), session_running=session_running),
                event_count=run.event_count,
                thread_id=run.thread_id,
                started_at=run.started_at,
                finished_at=run.finished_at,
                user_message=run.user_message,
                error=run.error,
                usage=used,
            )
            for run, used in zip(ordered, _apart(ordered), strict=True)
        ]


def _apart(runs: Iterable[_Run]) -> Iterator[Usage | None]:
    """What each run used: in order, each has cost what it adds to the total of its thread, which the runner tells."""
    totals: dict[str | None, float] = {}
    for run in runs:
        used = run.usage
        if used and (total := used.cost_usd) is not None:
            used = msgspec.structs.replace(used, cost_usd=cost_delta(totals.get(run.thread_id, 0.0), total))
            totals[run.thread_id] = total
        yield used


def _status_without_end(run: _Run, last_of_thread: _Run | None, *, session_running: bool) -> RunStatus:
    overtaken = last_of_thread is not None and last_of_thread is not run and run.begun is not None
    return RunStatus.RUNNING if session_running and not overtaken else RunStatus.ERROR
