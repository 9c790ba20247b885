"""Runs that the platform has accepted and whose first event is not in the log yet.

The platform has no list of them, so this process remembers those that it sent. Other servers, and this one after a
restart, see such a run only once its first event is in the log.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection
from time import monotonic

import msgspec

from app.agui.run_filter import normalize_run_id
from app.clock import now_ms
from app.models.runs import RunStatus, RunSummary

GRACE_SECONDS = 120.0
"""Seconds after which a run that no other run blocks is given up. The platform itself gives up after about 50."""

MAX_AGE_SECONDS = 24 * 3600.0
"""Seconds after which a run is forgotten even if another run still blocks it."""

MAX_RUNS = 10_000
"""The most pending runs of all sessions together; beyond that the oldest are forgotten."""


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


class PendingRuns:
    """The pending runs of all sessions by project, session and run id, oldest first."""

    def __init__(self, clock: Callable[[], float] = monotonic, capacity: int = MAX_RUNS) -> None:
        self._clock = clock
        self._capacity = capacity
        self._runs: OrderedDict[tuple[str, str, str], PendingRun] = OrderedDict()

    def add(self, project: str, session_id: str, run_id: str, thread_id: str, user_message: str | None) -> None:
        """Remember a run, and forget those that are too old or too many."""
        now = self._clock()
        self._runs[project, session_id, run_id] = PendingRun(
            run_id, thread_id, user_message, accepted_at=now, last_blocked_at=now
        )
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
