"""Pending runs: when they are forgotten, and how many are remembered."""

from app.backends.ambient.pending_runs import GRACE_SECONDS, MAX_AGE_SECONDS, PendingRuns
from app.models.runs import RunStatus, RunSummary


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def summary(run_id: str, status: RunStatus) -> RunSummary:
    return RunSummary(run_id=run_id, status=status, event_count=1, thread_id="s")


def ids(runs: PendingRuns, session_id: str = "s") -> list[str]:
    return [run.run_id for run in runs.waiting("p", session_id)]


def test_runs_are_pending_in_the_order_of_acceptance_until_they_are_in_the_log() -> None:
    runs = PendingRuns(Clock())
    for run_id in ("a", "b", "c"):
        runs.add("p", "s", run_id, "s", None)
    in_log = [summary("b", RunStatus.COMPLETED), summary("x", RunStatus.COMPLETED)]
    assert [run.run_id for run in runs.waiting("p", "s", in_log)] == ["a", "c"]
    assert ids(runs) == ["a", "c"]


def test_pending_runs_belong_to_a_session_of_a_project() -> None:
    runs = PendingRuns(Clock())
    runs.add("p", "s", "a", "s", None)
    runs.add("q", "s", "b", "s", None)
    runs.add("p", "t", "c", "t", None)
    assert (ids(runs), ids(runs, "t")) == (["a"], ["c"])


def test_unblocked_run_is_given_up_after_the_grace_period() -> None:
    clock = Clock()
    runs = PendingRuns(clock)
    runs.add("p", "s", "a", "s", None)
    clock.now = GRACE_SECONDS
    assert ids(runs) == ["a"]
    clock.now = GRACE_SECONDS + 1
    assert ids(runs) == []
    assert runs.get("p", "s", "a") is None


def test_run_is_pending_as_long_as_an_active_run_of_its_thread_blocks_it() -> None:
    clock = Clock()
    runs = PendingRuns(clock)
    for run_id, thread_id in (("a", "s"), ("b", "other")):
        runs.add("p", "s", run_id, thread_id, None)
    clock.now = 100 * GRACE_SECONDS
    assert [run.run_id for run in runs.waiting("p", "s", [summary("active", RunStatus.RUNNING)])] == ["a"]
    clock.now += GRACE_SECONDS
    assert [run.run_id for run in runs.waiting("p", "s", [summary("active", RunStatus.COMPLETED)])] == ["a"]
    clock.now += 1
    assert ids(runs) == []


def test_old_runs_of_all_sessions_are_forgotten() -> None:
    clock = Clock()
    runs = PendingRuns(clock)
    for number in range(5):
        runs.add("p", f"s{number}", "a", "s", None)
    clock.now = MAX_AGE_SECONDS + 1
    runs.add("p", "s", "b", "s", None)
    assert len(runs._runs) == 1


def test_oldest_run_is_forgotten_when_there_are_too_many() -> None:
    runs = PendingRuns(Clock(), capacity=2)
    for run_id in ("a", "b", "c"):
        runs.add("p", "s", run_id, "s", None)
    assert ids(runs) == ["b", "c"]


def test_run_is_found_by_a_uuid_in_any_spelling() -> None:
    runs = PendingRuns(Clock())
    runs.add("p", "s", "0F0E0D0C-0B0A-0908-0706-050403020100", "s", None)
    assert runs.get("p", "s", "0f0e0d0c0b0a09080706050403020100") is not None
    assert runs.get("p", "s", "0f0e0d0c0b0a09080706050403020101") is None


def test_session_runs_are_forgotten_together() -> None:
    runs = PendingRuns(Clock())
    for session_id in ("s", "t"):
        runs.add("p", session_id, "a", session_id, None)
    runs.discard_session("p", "s")
    assert (ids(runs), ids(runs, "t")) == ([], ["a"])


def test_pending_run_is_queued_and_has_no_events() -> None:
    runs = PendingRuns(Clock())
    runs.add("p", "s", "a", "t", "hello")
    (run,) = runs.waiting("p", "s")
    assert run.summary() == RunSummary(
        run_id="a", status=RunStatus.QUEUED, event_count=0, thread_id="t", user_message="hello"
    )
