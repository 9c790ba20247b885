"""Run summaries: status, order, times and texts from whatever the log has."""

from typing import Any

import pytest

from app.agui.run_summaries import SummaryBuilder, summaries
from tests.support.agui_samples import PLATFORM_RUN, R1, R2, THREAD, UNREACHABLE, built, log, raw


def statuses(*raws: bytes, session_running: bool = True) -> dict[str, str]:
    return {run.run_id: run.status.value for run in summaries(log(*raws), session_running=session_running)}


def test_the_runs_of_the_platform_are_summarized() -> None:
    assert [built(run) for run in summaries(log(*PLATFORM_RUN, *UNREACHABLE), session_running=True)] == [
        {
            "run_id": R1, "status": "completed", "event_count": 10, "thread_id": THREAD,
            "started_at": 1773061200389, "finished_at": 1773061203392, "user_message": "hello",
            "answer": "Hello!",
            "usage": {"input_tokens": 3, "output_tokens": 71, "total_tokens": 74},
        },
        {
            "run_id": R2, "status": "error", "event_count": 2, "thread_id": THREAD,
            "error": "Runner is not available",
        },
    ]  # fmt: skip


def test_a_run_that_ends_with_interrupts_waits_until_its_session_stops_or_another_run_of_its_thread_begins() -> None:
    waiting = [raw("RUN_STARTED"), raw("RUN_FINISHED", outcome={"type": "interrupt", "interrupts": [{"id": "i"}]})]
    assert statuses(*waiting) == {"r1": "waiting"}
    assert statuses(*waiting, session_running=False) == {"r1": "interrupted"}
    assert statuses(*waiting, raw("RUN_STARTED", run="r2", thread="t2")) == {"r1": "waiting", "r2": "running"}
    first, second = summaries(log(*waiting, raw("RUN_STARTED", run="r2")), session_running=False)
    assert (first.status, first.continued_by) == ("completed", second.run_id)


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        ([raw("RUN_FINISHED")], "completed"),
        ([raw("RUN_FINISHED", result={"is_error": False}, outcome={"type": "success"})], "completed"),
        ([raw("RUN_FINISHED", outcome={"type": "interrupt", "interrupts": []})], "completed"),
        ([raw("RUN_FINISHED", outcome={"type": "cancelled"})], "interrupted"),
        ([raw("RUN_FINISHED", result={"is_error": True})], "error"),
        ([raw("RUN_FINISHED", result={"is_error": True}, outcome={"type": "cancelled"})], "error"),
        ([raw("RUN_FINISHED", result={"is_error": "yes"}, outcome=7)], "completed"),
        ([raw("RUN_FINISHED", result="done")], "completed"),
        ([raw("RUN_ERROR", message="x")], "error"),
        ([raw("RUN_ERROR", message="x"), raw("RUN_FINISHED")], "error"),
        ([raw("RUN_FINISHED"), raw("RUN_ERROR", message="x")], "error"),
        ([raw("RUN_FINISHED", outcome={"type": "cancelled"}), raw("RUN_FINISHED")], "interrupted"),
    ],
)
@pytest.mark.parametrize("session_running", [True, False])
def test_a_terminal_event_decides_the_status(ends: list[bytes], status: str, session_running: bool) -> None:
    assert statuses(raw("RUN_STARTED"), *ends, session_running=session_running) == {"r1": status}


def test_an_unfinished_run_is_running_only_while_its_session_is() -> None:
    assert statuses(raw("RUN_STARTED"), session_running=True) == {"r1": "running"}
    assert statuses(raw("RUN_STARTED"), session_running=False) == {"r1": "error"}


def test_an_unfinished_run_is_an_error_once_a_later_run_of_its_thread_has_begun() -> None:
    later = raw("RUN_STARTED", run="r2")
    assert statuses(raw("RUN_STARTED"), later) == {"r1": "running", "r2": "running"}
    words = raw("TEXT_MESSAGE_START", run="r2")
    assert statuses(raw("RUN_STARTED"), later, words) == {"r1": "error", "r2": "running"}
    assert statuses(raw("RUN_STARTED"), later, raw("RUN_FINISHED", run="r2")) == {"r1": "error", "r2": "completed"}


def test_runs_of_two_threads_are_independent() -> None:
    other = raw("RUN_STARTED", run="r2", thread="t2")
    assert statuses(raw("RUN_STARTED"), other, raw("TEXT_MESSAGE_END")) == {"r1": "running", "r2": "running"}


def test_a_waiting_run_does_not_end_the_one_before() -> None:
    waiting = raw("RAW", run="r2", event={"hidden": True})
    noted = raw("MESSAGES_SNAPSHOT", run="r2", messages=[{"id": "m", "role": "user", "content": "hi"}], timestamp=1)
    for events in ([waiting], [noted], [waiting, noted]):
        assert statuses(raw("RUN_STARTED"), *events) == {"r1": "running", "r2": "queued"}
        assert statuses(*events, raw("RUN_STARTED")) == {"r1": "running", "r2": "queued"}


def test_runs_are_in_the_order_in_which_they_began() -> None:
    early = raw("RAW", run="r2", event={})
    runs = summaries(log(early, raw("RUN_STARTED"), raw("RUN_STARTED", run="r2")), session_running=True)
    assert [(run.run_id, run.event_count) for run in runs] == [("r1", 1), ("r2", 2)]


def test_events_without_a_run_id_belong_to_no_run() -> None:
    assert summaries(log(raw("RAW", run=None), raw("RUN_STARTED", run=None)), session_running=True) == []


def message(role: str, content: Any) -> dict[str, Any]:
    return {"id": f"{role}-{content}", "role": role, "content": content}


@pytest.mark.parametrize(
    ("raws", "text"),
    [
        (
            [
                raw(
                    "RUN_STARTED",
                    input={"messages": [message("user", "1"), message("user", "2"), message("assistant", "3")]},
                )
            ],
            "2",
        ),
        (
            [
                raw(
                    "RUN_STARTED",
                    input={
                        "messages": [message("user", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])]
                    },
                )
            ],
            "ab",
        ),
        (
            [
                raw("RUN_STARTED", input={"messages": []}),
                raw("TEXT_MESSAGE_START", role="assistant", content="no"),
                raw("TEXT_MESSAGE_START", role="user", content=""),
                raw("TEXT_MESSAGE_START", role="user", content="yes"),
                raw("MESSAGES_SNAPSHOT", messages=[message("user", "no")]),
            ],
            "yes",
        ),
        (
            [
                raw("RUN_STARTED", input={"messages": "wrong"}),
                raw("MESSAGES_SNAPSHOT", messages=[message("user", "old")]),
                raw(
                    "MESSAGES_SNAPSHOT", messages=[message("user", "old"), message("user", "new"), message("tool", "x")]
                ),
            ],
            "new",
        ),
        ([raw("RUN_STARTED")], None),
    ],
)
def test_the_user_message_is_found_anywhere_in_the_log(raws: list[bytes], text: str | None) -> None:
    assert [run.user_message for run in summaries(log(*raws), session_running=True)] == [text]


def test_missing_times_are_those_of_the_nearest_event() -> None:
    (run,) = summaries(
        log(
            raw("RUN_STARTED"),
            raw("TEXT_MESSAGE_START", timestamp="2026-03-09T13:00:00Z"),
            raw("TEXT_MESSAGE_END", timestamp=1773061201000.0),
            raw("RUN_FINISHED"),
            raw("CUSTOM", timestamp=1773061209000),
        ),
        session_running=True,
    )
    assert (run.started_at, run.finished_at) == (1773061200000, 1773061201000)


def test_the_last_terminal_event_counts_after_an_error_in_between() -> None:
    (run,) = summaries(
        log(
            raw("RUN_STARTED", timestamp=1),
            raw("RUN_ERROR", message="too large", timestamp=2),
            raw("RUN_FINISHED", timestamp=3),
        ),
        session_running=True,
    )
    assert (run.status.value, run.error, run.finished_at) == ("error", "too large", 3)


def test_a_run_whose_id_is_used_again_runs_again() -> None:
    again = [
        raw("RUN_STARTED", timestamp=1),
        raw("RUN_ERROR", message="x", timestamp=2),
        raw("RUN_STARTED", timestamp=3),
    ]
    [run] = summaries(log(*again), session_running=True)
    assert (run.status, run.started_at, run.finished_at, run.error) == ("running", 3, None, None)
    assert statuses(*again, raw("RUN_FINISHED", timestamp=4)) == {"r1": "completed"}


def test_an_aborted_run_has_no_end_time() -> None:
    (run,) = summaries(log(raw("RUN_STARTED", timestamp=1)), session_running=False)
    assert (run.status.value, run.finished_at) == ("error", None)


def test_summaries_can_be_made_again_after_more_events() -> None:
    ends = [
        raw("RUN_FINISHED", runId=run_id, result={"total_cost_usd": total}) for run_id, total in (("a", 1), ("b", 3))
    ]
    runs = SummaryBuilder()
    runs.feed(log(*ends))
    for _ in range(2):
        summed_up = runs.summaries(session_running=False)
        assert [run.usage and run.usage.cost_usd for run in summed_up] == [1, 2]
