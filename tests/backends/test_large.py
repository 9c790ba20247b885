"""A log of one message in 37,000 deltas, 10 MB in all, through the API."""

import json

import pytest

from tests.support.api import Api
from tests.support.stage import PlatformStage

DELTAS = 37_000
TEXT = "x" * 150


@pytest.fixture
def large(ambient: PlatformStage, ambient_api: Api) -> tuple[str, str]:
    """A session with the log, and the id of its run."""
    session_id = ambient.session(ambient_api, "running")
    run_id = "0a3f9c52-5b1e-4a57-9d0c-6a5f5f5b7c11"
    ids = {"threadId": session_id, "runId": run_id}
    content = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m1"} | ids
    lines = [json.dumps(content | {"delta": f"{number:05}{TEXT}"}).encode() for number in range(DELTAS)]
    assert sum(map(len, lines)) > 10_000_000
    runner = ambient.platform.runner
    runner.append(session_id, {"type": "RUN_STARTED", "timestamp": 1773061200000} | ids)
    runner.append(session_id, {"type": "TEXT_MESSAGE_START", "messageId": "m1", "role": "assistant"} | ids)
    runner.append(session_id, *lines)
    runner.append(session_id, {"type": "TEXT_MESSAGE_END", "messageId": "m1"} | ids)
    runner.append(session_id, {"type": "RUN_FINISHED", "timestamp": 1773061209000} | ids)
    return session_id, run_id


def test_its_deltas_become_one_event(ambient_api: Api, large: tuple[str, str]) -> None:
    session_id, run_id = large
    events = ambient_api.output(session_id, format="compact", run_id=run_id).ok()["events"]
    types = ["RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED"]
    assert [event["type"] for event in events] == types
    assert events[2]["delta"] == "".join(f"{number:05}{TEXT}" for number in range(DELTAS))


def test_it_is_one_message_of_the_transcript(ambient_api: Api, large: tuple[str, str]) -> None:
    session_id, run_id = large
    [message] = ambient_api.output(session_id, run_id=run_id).ok()["messages"]
    assert (message["role"], len(message["content"])) == ("assistant", DELTAS * (5 + len(TEXT)))


def test_its_run_is_summed_up(ambient_api: Api, large: tuple[str, str]) -> None:
    session_id, run_id = large
    reply = "".join(f"{number:05}{TEXT}" for number in range(DELTAS))
    assert ambient_api.get_run(session_id, run_id).body == {
        "run_id": run_id,
        "thread_id": session_id,
        "status": "completed",
        "event_count": DELTAS + 4,
        "started_at": 1773061200000,
        "finished_at": 1773061209000,
        "answer": reply[: 64 * 1024],
    }
