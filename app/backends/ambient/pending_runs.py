"""Runs that the platform has accepted and whose first event is not in the log yet, and sessions with recent runs.

The platform has no list of them, so this process remembers those that it sent. Other servers, and this one after a
restart, see such a run only once its first event is in the log.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection
from time import monotonic

import msgspec
from cachetools import LRUCache

from app.agui.run_filter import normalize_run_id
from app.clock import now_ms
from app.models.runs import RunStatus, RunSummary

GRACE_SECONDS = 120.0
"""Seconds after which a run that no other run blocks is given up. The platform itself gives up after about 50."""

MAX_AGE_SECONDS = 24 * 3600.0
"""Seconds after which a run is forgotten even if another run still blocks it."""

MAX_RUNS = 10_000
"""The most pending runs of all sessions together; beyond that the oldest are forgotten."""

STATE_AGE_SECONDS = 6.0
"""Seconds after which the state that the platform reports of an agent, which it caches for five, is up to date."""


def lost_before() -> int:
    """Return the time in ms before which a run that nothing blocks and that has not begun was accepted in vain."""
    return now_ms() - int(GRACE_SECONDS * 1000)


class PendingRun(msgspec.Struct):
    """A pending run, with the clock's times at which it was accepted and at which another run last blocked it."""

    run_id: str
    thread_id: str
    user_message: str | None
    accepted_at: float
    last_blocked_at: float

    def summary(self) -> RunSummary:
        """Return the run as clients see it: queued, without events."""
        return RunSummary(
            run_id=self.run_id,
            status=RunStatus.QUEUED,
            event_count=0,
            thread_id=self.thread_id,
            user_message=self.user_message,
        )


class _Progress(msgspec.Struct):
    """When the last run of a session was accepted or the last one was seen to end, and whether some may go on."""

    at: float
    unfinished: bool


class PendingRuns:
    """The pending runs of all sessions by project, session and run id, oldest first."""

    def __init__(self, clock: Callable[[], float] = monotonic, capacity: int = MAX_RUNS) -> None:
        self._clock = clock
        self._capacity = capacity
        self._runs: OrderedDict[tuple[str, str, str], PendingRun] = OrderedDict()
        self._interrupted: LRUCache[tuple[str, str, str], bool] = LRUCache(capacity)
        self._progress: LRUCache[tuple[str, str], _Progress] = LRUCache(capacity)

    def add(self, project: str, session_id: str, run_id: str, thread_id: str, user_message: str | None) -> None:
        """Remember a run, and forget those that are too old or too many."""
        now = self._clock()
        self._runs[project, session_id, run_id] = PendingRun(
            run_id, thread_id, user_message, accepted_at=now, last_blocked_at=now
        )
        self._progress[project, session_id] = _Progress(now, unfinished=True)
        oldest_allowed = now - MAX_AGE_SECONDS
        while len(self._runs) > self._capacity or next(iter(self._runs.values())).accepted_at < oldest_allowed:
            self._runs.popitem(last=False)

    def get(self, project: str, session_id: str, run_id: str) -> PendingRun | None:
        """Return the run of that id, a UUID in any spelling, or None if it is not pending."""
        wanted = normalize_run_id(run_id)
        runs = (run for key, run in self._runs.items() if key[:2] == (project, session_id))
        return next((run for run in runs if normalize_run_id(run.run_id) == wanted), None)

    def discard(self, project: str, session_id: str, run_id: str) -> None:
        """Forget a run, if it is pending."""
        self._runs.pop((project, session_id, run_id), None)

    def discard_session(self, project: str, session_id: str) -> None:
        """Forget all runs of a session."""
        for run in self.waiting(project, session_id):
            self.discard(project, session_id, run.run_id)
        self._progress.pop((project, session_id), None)

    def may_know_better(self, project: str, session_id: str, *, working: bool) -> bool:
        """Return whether the platform's state of a session's agent, `working` or not, may be outdated.

        So it is for some seconds after a run was accepted or ended. Later only that nothing is at work is doubtful, as
        long as no run was seen to end: between two runs the platform may take the end of one for that of the other.
        """
        progress = self._progress.get((project, session_id))
        if progress is None:
            return False
        return progress.at > self._clock() - STATE_AGE_SECONDS or (progress.unfinished and not working)

    def note(self, project: str, session_id: str, runs: Collection[RunSummary]) -> None:
        """Note the runs of a session, those that are pending included."""
        progress = self._progress.get((project, session_id))
        if progress and progress.unfinished and all(run.status.has_ended for run in runs):
            self._progress[project, session_id] = _Progress(self._clock(), unfinished=False)

    def note_interrupt(self, project: str, session_id: str, run_ids: Collection[str]) -> None:
        """Note that these runs were interrupted."""
        for run_id in run_ids:
            self._interrupted[project, session_id, run_id] = True

    def is_interrupted(self, project: str, session_id: str, run_id: str) -> bool:
        """Return whether the run was interrupted by this process."""
        return (project, session_id, run_id) in self._interrupted

    def is_overdue(self, run: PendingRun) -> bool:
        """Return whether the run is lost unless the log shows that another run blocks it."""
        return run.last_blocked_at < self._clock() - GRACE_SECONDS

    def waiting(self, project: str, session_id: str, in_log: Collection[RunSummary] = ()) -> list[PendingRun]:
        """Return a session's pending runs in the order of their acceptance, given the runs of its log.

        Runs that are in the log are no longer pending. One that is overdue is lost, unless the log has an active run
        on its thread. Both kinds are forgotten.
        """
        started = {run.run_id for run in in_log}
        busy_threads = {run.thread_id or session_id for run in in_log if run.status is RunStatus.RUNNING}
        waiting = []
        for key in [key for key in self._runs if key[:2] == (project, session_id)]:
            run = self._runs[key]
            blocked = run.thread_id in busy_threads
            if run.run_id in started or (self.is_overdue(run) and not blocked):
                del self._runs[key]
                continue
            if blocked:
                run.last_blocked_at = self._clock()
            waiting.append(run)
        return waiting
