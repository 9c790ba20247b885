"""The memory of runs that the platform has accepted: bounded in time and in number."""

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


def test_runs_are_waiting_in_the_order_of_acceptance_until_they_are_in_the_log() -> None:
    runs = PendingRuns(Clock())
    for run_id in ("a", "b", "c"):
        runs.add("p", "s", run_id, "s", None)
    in_log = [summary("b", RunStatus.COMPLETED), summary("x", RunStatus.COMPLETED)]
    assert [run.run_id for run in runs.waiting("p", "s", in_log)] == ["a", "c"]
    assert ids(runs) == ["a", "c"]


def test_runs_are_those_of_one_session_in_one_project() -> None:
    runs = PendingRuns(Clock())
    runs.add("p", "s", "a", "s", None)
    runs.add("q", "s", "b", "s", None)
    runs.add("p", "t", "c", "t", None)
    assert (ids(runs), ids(runs, "t")) == (["a"], ["c"])


def test_run_is_given_up_when_it_does_not_begin_though_nothing_keeps_it_from_that() -> None:
    clock = Clock()
    runs = PendingRuns(clock)
    runs.add("p", "s", "a", "s", None)
    clock.now = GRACE_SECONDS
    assert ids(runs) == ["a"]
    clock.now = GRACE_SECONDS + 1
    assert ids(runs) == []
    assert runs.get("p", "s", "a") is None


def test_run_waits_for_as_long_as_another_one_of_its_thread_is_under_way() -> None:
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


def test_runs_of_other_sessions_are_forgotten_too_when_their_time_is_over() -> None:
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


def test_run_reads_queued_without_events() -> None:
    runs = PendingRuns(Clock())
    runs.add("p", "s", "a", "t", "hello")
    (run,) = runs.waiting("p", "s")
    assert run.summary() == RunSummary(
        run_id="a", status=RunStatus.QUEUED, event_count=0, thread_id="t", user_message="hello"
    )
