"""Runs that the platform has accepted and whose events are not in the log yet."""

from collections import OrderedDict
from collections.abc import Callable, Collection
from time import monotonic

import msgspec

from app.agui.select import canonical
from app.types import RunStatus, RunSummary

LIFETIME = 120.0
"""Seconds until a run that never came to the log is forgotten: the platform itself gives up after about 50."""

CAPACITY = 10_000
"""Runs held at most, of all sessions together; the oldest goes first."""


class AcceptedRun(msgspec.Struct, frozen=True):
    """A run on its way."""

    run_id: str
    thread_id: str
    user_message: str | None
    at: float

    def summary(self) -> RunSummary:
        """The run as a client sees it: queued, without events."""
        return RunSummary(
            run_id=self.run_id,
            status=RunStatus.QUEUED,
            event_count=0,
            thread_id=self.thread_id,
            user_message=self.user_message,
        )


class AcceptedRuns:
    """A bounded memory of accepted runs by project and session.

    It lives in this process alone: another server, or this one restarted, sees such a run once its first event is
    stored.
    """

    def __init__(self, clock: Callable[[], float] = monotonic, capacity: int = CAPACITY) -> None:
        self._clock = clock
        self._capacity = capacity
        self._runs: OrderedDict[tuple[str, str, str], AcceptedRun] = OrderedDict()

    def add(self, project: str, session_id: str, run_id: str, thread_id: str, user_message: str | None) -> None:
        """Remember a run; the oldest of all are forgotten when their time or the room is over."""
        now = self._clock()
        self._runs[project, session_id, run_id] = AcceptedRun(run_id, thread_id, user_message, now)
        while len(self._runs) > self._capacity or next(iter(self._runs.values())).at < now - LIFETIME:
            self._runs.popitem(last=False)

    def discard_session(self, project: str, session_id: str) -> None:
        """Forget all runs of a session."""
        for run in self.waiting(project, session_id):
            self.discard(project, session_id, run.run_id)

    def discard(self, project: str, session_id: str, run_id: str) -> None:
        """Forget a run."""
        self._runs.pop((project, session_id, run_id), None)

    def get(self, project: str, session_id: str, run_id: str) -> AcceptedRun | None:
        """The run of that id, a uuid in any spelling, if it was accepted lately."""
        wanted = canonical(run_id)
        runs = self.waiting(project, session_id)
        return next((run for run in runs if canonical(run.run_id) == wanted), None)

    def waiting(self, project: str, session_id: str, in_log: Collection[str] = ()) -> list[AcceptedRun]:
        """Return a session's runs that are still on their way, first accepted first; forget all others of it."""
        oldest = self._clock() - LIFETIME
        mine = [key for key in self._runs if key[:2] == (project, session_id)]
        for key in mine:
            if key[2] in in_log or self._runs[key].at < oldest:
                del self._runs[key]
        return [self._runs[key] for key in mine if key in self._runs]
