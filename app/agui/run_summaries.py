"""Summaries of the runs in a log of the platform, which has no table of runs."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter

import msgspec

from app.agui.answer import AnswerReader
from app.agui.events import Event
from app.agui.lenient import Lenient
from app.agui.messages import content_text, input_messages, last_user_text, snapshot_messages
from app.agui.outcome import error_message, final_status, merge_statuses
from app.agui.questions import Question, has_result, question_id
from app.agui.run_filter import normalize_run_id
from app.agui.usage import cost_delta, usage
from app.models.runs import RunStatus, RunSummary, Usage


class _TextMessage(msgspec.Struct, gc=False):
    role: str | None = None
    content: msgspec.Raw = msgspec.Raw()


_text_message = Lenient(_TextMessage)

# Of all other events only the number and the times count.
_SUMMARIZED = frozenset(
    {"RUN_STARTED", "TEXT_MESSAGE_START", "TOOL_CALL_START", "MESSAGES_SNAPSHOT", "RUN_FINISHED", "RUN_ERROR"}
)


class _Run(msgspec.Struct, eq=False):
    """A run so far; times are in ms.

    `question` is the id of the last question that it asked, `snapshot` the last snapshot since then.

    `first` and `last` are the positions of its first and last event. `begun` is that of RUN_STARTED, or until there is
    one of the first event that only a run at work sends: for a run that it has accepted, the platform writes RAW events
    and a snapshot of its messages, with the time. `restored` says that it has a snapshot without a time.
    """

    run_id: str
    first: int
    last: int = 0
    begun: int | None = None
    started: bool = False
    restored: bool = False
    thread_id: str | None = None
    started_at: int | None = None
    finished_at: int | None = None
    last_at: int | None = None
    event_count: int = 0
    final_status: RunStatus | None = None
    error: str | None = None
    usage: Usage | None = None
    input_message: str | None = None
    text_message: str | None = None
    snapshot_message: str | None = None
    question: str | None = None
    snapshot: msgspec.Raw | None = None
    answer: AnswerReader = msgspec.field(default_factory=AnswerReader)

    def feed(self, events: Sequence[Event]) -> None:
        """Add adjacent events of the run; nearly all of them are deltas, which are not looked at one by one."""
        self.event_count += len(events)
        self.answer.feed(events)
        if self.thread_id is None:
            self.thread_id = next((event.thread_id for event in events if event.thread_id), None)
        if self.begun is None:
            self._begin(events)
        self.last = events[-1].position
        if self.started_at is None and self.begun is not None:
            self.started_at = _first_time(events)
        done = 0
        for index in [index for index, event in enumerate(events) if event.type in _SUMMARIZED]:
            self._set_time(events[done : index + 1])
            self._observe(events[index])
            done = index + 1
        self._set_time(events[done:])

    def _begin(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.type == "MESSAGES_SNAPSHOT":
                self.restored = self.restored or event.timestamp is None
            elif event.type != "RAW":
                self.begun = event.position
                return

    @property
    def is_queued(self) -> bool:
        """Return whether the run has been accepted and has not begun."""
        return self.begun is None and not self.restored

    @property
    def has_worked(self) -> bool:
        """Return whether the run has sent anything after its beginning."""
        return self.begun is not None and (self.last > self.begun or self.final_status is not None)

    def _set_time(self, events: Sequence[Event]) -> None:
        if (time := _first_time(reversed(events))) is not None:
            self.last_at = time

    def _observe(self, event: Event) -> None:
        if event.type == "RUN_STARTED":
            self._start(event)
        elif event.type == "TEXT_MESSAGE_START" and self.input_message is None and self.text_message is None:
            message = _text_message(event.raw)
            self.text_message = (content_text(message.content) or None) if message and message.role == "user" else None
        elif event.type == "TOOL_CALL_START":
            self.question = question_id(event) or self.question
        elif event.type == "MESSAGES_SNAPSHOT":
            if self.input_message is None and self.text_message is None:
                self.snapshot_message = last_user_text(snapshot_messages(event.raw))
            if self.question:
                self.snapshot = msgspec.Raw(bytes(event.raw))
        elif status := final_status(event):
            if status is RunStatus.COMPLETED and self.question and not has_result(event):
                status = RunStatus.WAITING
            self.final_status = merge_statuses(self.final_status, status)
            self.finished_at = self.last_at
            self.error = error_message(event) or self.error
            self.usage = usage(event) or self.usage

    def _start(self, event: Event) -> None:
        if self.final_status:  # the id was used again
            self.started, self.final_status, self.finished_at, self.error = False, None, None, None
        if not self.started:
            self.started = True
            self.begun = event.position
            self.started_at = event.timestamp if event.timestamp is not None else self.started_at
        if self.input_message is None:
            self.input_message = last_user_text(input_messages(event.raw))

    @property
    def user_message(self) -> str | None:
        return self.input_message or self.text_message or self.snapshot_message


def _first_time(events: Iterable[Event]) -> int | None:
    return next((event.timestamp for event in events if event.timestamp is not None), None)


def summaries(
    events: Iterable[Event], *, session_running: bool, running_since: int = 0, lost_before: int | None = None
) -> list[RunSummary]:
    """Return a summary of each run in the order in which they began; error texts are not yet fit for clients.

    A run that was accepted and has not begun is queued. One without a terminal event is running only while its session
    is and no later run of its thread is at work; any other such run was aborted and counts as an error. That a later
    one has begun is not enough, since its RUN_STARTED may precede the last events of the run before. Events without a
    run id belong to no run.

    A run that began before the session was last started, in ms at `running_since`, was aborted, too. A queued run is
    lost, and counts as an error, if its thread has times and none is later than `lost_before`, in ms.
    """
    builder = SummaryBuilder()
    builder.feed(events)
    return builder.summaries(session_running=session_running, running_since=running_since, lost_before=lost_before)


class SummaryBuilder:
    """`summaries` for events that arrive in batches."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}

    def feed(self, events: Iterable[Event]) -> None:
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
        """Return whether there is an event of the run."""
        return normalize_run_id(run_id) in map(normalize_run_id, self._runs)

    def summaries(
        self, *, session_running: bool, running_since: int = 0, lost_before: int | None = None
    ) -> list[RunSummary]:
        """Return a summary of each run so far."""
        ordered = sorted(self._runs.values(), key=lambda run: (run.is_queued, run.begun or run.first))
        last_at_work = {run.thread_id: run for run in ordered if run.has_worked}
        following = _following(ordered)
        found = [
            self._summary(
                run,
                run_usage,
                _status(
                    run,
                    last_at_work.get(run.thread_id),
                    following.get(run.run_id),
                    session_running=session_running,
                    running_since=running_since,
                ),
                following.get(run.run_id),
            )
            for run, run_usage in zip(ordered, _usage_by_run(ordered), strict=True)
        ]
        return found if lost_before is None else self._without_lost(found, lost_before)

    def questions(self) -> list[Question]:
        """Return the last question of each run that ended with one; it is open in the last run of its thread."""
        last = {run.thread_id: run for run in sorted(self._runs.values(), key=lambda run: (run.is_queued, run.first))}
        return [
            Question(
                id=run.question,
                run_id=run.run_id,
                thread_id=run.thread_id,
                created_at=run.finished_at or run.last_at or 0,
                is_open=last[run.thread_id] is run,
                snapshot=run.snapshot,
            )
            for run in self._runs.values()
            if run.question and run.final_status is RunStatus.WAITING
        ]

    def _without_lost(self, found: list[RunSummary], lost_before: int) -> list[RunSummary]:
        active = {run.thread_id for run in found if run.status is RunStatus.RUNNING}
        times: dict[str | None, int] = {}
        for run in self._runs.values():
            times[run.thread_id] = max(times.get(run.thread_id, 0), run.last_at or 0)
        for each in found:
            waits = each.status is RunStatus.QUEUED and each.thread_id not in active
            if waits and 0 < times[each.thread_id] <= lost_before:
                each.status = RunStatus.ERROR
        return found

    @staticmethod
    def _summary(run: _Run, run_usage: Usage | None, status: RunStatus, following: str | None) -> RunSummary:
        return RunSummary(
            run_id=run.run_id,
            status=status,
            continued_by=following if run.final_status is RunStatus.WAITING else None,
            event_count=run.event_count,
            thread_id=run.thread_id,
            started_at=run.started_at,
            finished_at=run.finished_at,
            user_message=run.user_message,
            answer=run.answer.answer if run.final_status else None,
            error=run.error,
            usage=run_usage,
        )


def _status(
    run: _Run, last_at_work: _Run | None, following: str | None, *, session_running: bool, running_since: int
) -> RunStatus:
    if run.final_status is RunStatus.WAITING:
        return _status_of_waiting(following, session_running=session_running)
    is_current = session_running and not 0 < (run.started_at or 0) < running_since
    return run.final_status or _status_without_end(run, last_at_work, session_running=is_current)


def _following(ordered: Iterable[_Run]) -> dict[str, str]:
    """Return by the id of each run that of the next one which has begun on its thread."""
    following: dict[str, str] = {}
    last: dict[str | None, _Run] = {}
    for run in ordered:
        if run.begun is None:
            continue
        if (before := last.get(run.thread_id)) is not None:
            following[before.run_id] = run.run_id
        last[run.thread_id] = run
    return following


def _status_of_waiting(continued_by: str | None, *, session_running: bool) -> RunStatus:
    if continued_by is not None:
        return RunStatus.COMPLETED
    return RunStatus.WAITING if session_running else RunStatus.INTERRUPTED


def _usage_by_run(runs: Iterable[_Run]) -> Iterator[Usage | None]:
    """Yield the usage of each of the runs in order, with the cost of it alone: the log has the total of its thread."""
    totals: dict[str | None, float] = {}
    for run in runs:
        run_usage = run.usage
        if run_usage and (total := run_usage.cost_usd) is not None:
            run_usage = msgspec.structs.replace(run_usage, cost_usd=cost_delta(totals.get(run.thread_id, 0.0), total))
            totals[run.thread_id] = total
        yield run_usage


def _status_without_end(run: _Run, last_at_work: _Run | None, *, session_running: bool) -> RunStatus:
    if run.is_queued:
        return RunStatus.QUEUED
    begun = last_at_work.begun if last_at_work else None
    overtaken = begun is not None and run.begun is not None and begun > run.begun
    return RunStatus.RUNNING if session_running and not overtaken else RunStatus.ERROR
