"""Runs that the platform has accepted and whose events are not in the log yet."""

from collections import OrderedDict
from collections.abc import Callable, Collection
from time import monotonic

import msgspec

from app.agui.run_filter import normalize_run_id
from app.models.runs import RunStatus, RunSummary

PATIENCE = 120.0
"""Seconds until a run that nothing keeps from beginning is given up: the platform itself does so after about 50."""

LIFETIME = 24 * 3600.0
"""Seconds until a run is forgotten though it may wait behind another one still."""

CAPACITY = 10_000
"""Runs held at most, of all sessions together; the oldest goes first."""


class PendingRun(msgspec.Struct):
    """A run on its way, accepted `at`; what it had to wait for it waited for until `held`."""

    run_id: str
    thread_id: str
    user_message: str | None
    at: float
    last_blocked_at: float

    def summary(self) -> RunSummary:
        """The run as a client sees it: queued, without events."""
        return RunSummary(
            run_id=self.run_id,
            status=RunStatus.QUEUED,
            event_count=0,
            thread_id=self.thread_id,
            user_message=self.user_message,
        )


class PendingRuns:
    """A bounded memory of accepted runs by project and session.

    It lives in this process alone: another server, or this one restarted, sees such a run once its first event is
    stored.
    """

    def __init__(self, clock: Callable[[], float] = monotonic, capacity: int = CAPACITY) -> None:
        self._clock = clock
        self._capacity = capacity
        self._runs: OrderedDict[tuple[str, str, str], PendingRun] = OrderedDict()

    def add(self, project: str, session_id: str, run_id: str, thread_id: str, user_message: str | None) -> None:
        """Remember a run; the oldest of all are forgotten when their time or the room is over."""
        now = self._clock()
        self._runs[project, session_id, run_id] = PendingRun(
            run_id, thread_id, user_message, at=now, last_blocked_at=now
        )
        while len(self._runs) > self._capacity or next(iter(self._runs.values())).at < now - LIFETIME:
            self._runs.popitem(last=False)

    def discard_session(self, project: str, session_id: str) -> None:
        """Forget all runs of a session."""
        for run in self.waiting(project, session_id):
            self.discard(project, session_id, run.run_id)

    def discard(self, project: str, session_id: str, run_id: str) -> None:
        """Forget a run."""
        self._runs.pop((project, session_id, run_id), None)

    def get(self, project: str, session_id: str, run_id: str) -> PendingRun | None:
        """The run of that id, a uuid in any spelling, if it was accepted and has not been seen to be in the log."""
        wanted = normalize_run_id(run_id)
        runs = (run for key, run in self._runs.items() if key[:2] == (project, session_id))
        return next((run for run in runs if normalize_run_id(run.run_id) == wanted), None)

    def is_overdue(self, run: PendingRun) -> bool:
        """Whether the log has to be asked if the run has something to wait for."""
        return run.last_blocked_at < self._clock() - PATIENCE

    def waiting(self, project: str, session_id: str, in_log: Collection[RunSummary] = ()) -> list[PendingRun]:
        """Return a session's runs that are still on their way, first accepted first; forget all others of it.

        On its way is what is not among the runs `in_log`, and waits behind one of its thread that is under way there,
        or has not had to wait for any for less than PATIENCE.
        """
        begun = {run.run_id for run in in_log}
        busy = {run.thread_id or session_id for run in in_log if run.status is RunStatus.RUNNING}
        waiting = []
        for key in [key for key in self._runs if key[:2] == (project, session_id)]:
            run = self._runs[key]
            held = run.thread_id in busy
            if run.run_id in begun or (self.is_overdue(run) and not held):
                del self._runs[key]
                continue
            if held:
                run.last_blocked_at = self._clock()
            waiting.append(run)
        return waiting
