"""Questions of the platform's agents, as approvals: recordings of a real one, answered in both ways."""

import json
from collections.abc import AsyncIterator, Iterator

import pytest

from app.backends.ambient.backend import AmbientBackend
from app.errors import ApprovalClosed, ApprovalNotFound, BadRequest, NotRunning
from app.models.approvals import ApprovalAnswer, ApprovalOption, ApprovalStatus, Decision
from app.models.runs import MessageCreate, RunStatus
from app.models.sessions import Activity
from tests.support.platform import FakePlatform
from tests.support.platform_backend import CALLER, connected
from tests.support.platform_recordings import session_log, streamed_sessions

[SESSION] = streamed_sessions("07")
ASKED = 7000
QUESTION = "toolu_df32389c70ff"
RUN = "df32ee57-77f6-41b4-9cea-33cc6a31a1a7"
ALLOW = Decision.ALLOW


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    """A platform with a session that has asked a question."""
    with FakePlatform() as platform:
        platform.add_session("demo", SESSION, status={"startTime": "2026-01-01T00:00:00Z"})
        for line in session_log("07", SESSION):
            if line.time < ASKED:
                platform.runner.play(SESSION, line.stored, line.live)
        platform.runner.pace = "open"
        yield platform


@pytest.fixture
async def backend(platform: FakePlatform) -> AsyncIterator[AmbientBackend]:
    async with connected(platform.url, poll_interval=0.05) as backend:
        yield backend


async def test_question_is_an_approval_that_the_session_waits_for(backend: AmbientBackend) -> None:
    [asked] = (await backend.runs.list_approvals(CALLER, SESSION)).items
    assert (asked.id, asked.run_id, asked.status) == (QUESTION, RUN, ApprovalStatus.PENDING)
    assert (asked.tool_call_id, asked.tool_name) == (QUESTION, "AskUserQuestion")
    assert (asked.message, asked.created_at) == ("Which colour?", "2026-11-29T18:33:32.036Z")
    assert asked.options == [ApprovalOption(id=one, name=one, kind="allow_once") for one in ("red", "blue")]
    session = await backend.sessions.get_session(CALLER, SESSION)
    assert session.activity is Activity.WAITING
    assert session.waiting_for is not None
    assert session.waiting_for.approvals == [QUESTION]
    assert (await backend.runs.get_run(CALLER, SESSION, RUN, wait=5)).status is RunStatus.WAITING


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (ApprovalAnswer(decision=ALLOW, payload={"option_id": "blue"}), '{"Which colour?":"blue"}'),
        (ApprovalAnswer(decision=ALLOW, payload={"Which colour?": "green"}), '{"Which colour?":"green"}'),
        (ApprovalAnswer(decision=Decision.DENY), "The user declined to answer."),
    ],
)
async def test_answer_is_a_run_with_a_message_of_the_tool(
    platform: FakePlatform, backend: AmbientBackend, answer: ApprovalAnswer, text: str
) -> None:
    answered = await backend.runs.answer_approval(CALLER, SESSION, QUESTION, answer)
    allowed = answer.decision is ALLOW
    assert answered.status is (ApprovalStatus.ALLOWED if allowed else ApprovalStatus.DENIED)
    [message] = platform.last("run").json()["messages"]
    assert (message["role"], message["toolCallId"], message["content"]) == ("tool", QUESTION, text)
    assert (await backend.runs.list_approvals(CALLER, SESSION)).items == []
    with pytest.raises(ApprovalClosed):
        await backend.runs.answer_approval(CALLER, SESSION, QUESTION, answer)
    assert (await backend.sessions.get_session(CALLER, SESSION)).activity is Activity.WORKING
    run = await backend.runs.get_run(CALLER, SESSION, RUN)
    assert (run.status, run.continued_by) == (RunStatus.COMPLETED, platform.last("run").json()["runId"])


async def test_question_that_a_message_answers_is_closed(platform: FakePlatform, backend: AmbientBackend) -> None:
    platform.runner.pace = "wait"
    await backend.runs.send_message(CALLER, SESSION, MessageCreate(content="red"))
    assert (await backend.runs.list_approvals(CALLER, SESSION)).items == []
    platform.runner.pace = "finish"
    platform.runner.begin(SESSION)
    assert (await backend.runs.get_run(CALLER, SESSION, RUN)).status is RunStatus.COMPLETED
    assert (await backend.runs.list_approvals(CALLER, SESSION)).items == []


@pytest.mark.parametrize("payload", [None, {}, {"option_id": "green"}])
async def test_answer_that_says_nothing_is_refused(
    platform: FakePlatform, backend: AmbientBackend, payload: dict[str, str] | None
) -> None:
    with pytest.raises(BadRequest):
        await backend.runs.answer_approval(CALLER, SESSION, QUESTION, ApprovalAnswer(decision=ALLOW, payload=payload))
    assert "run" not in platform.operations()


async def test_approval_that_nobody_has_requested_is_not_found(backend: AmbientBackend) -> None:
    with pytest.raises(ApprovalNotFound):
        await backend.runs.answer_approval(CALLER, SESSION, "x", ApprovalAnswer(decision=ALLOW))


async def test_question_of_a_session_that_has_stopped_is_closed(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    platform.set_phase("demo", SESSION, "Stopped")
    assert (await backend.runs.list_approvals(CALLER, SESSION)).items == []
    with pytest.raises((ApprovalClosed, NotRunning)):
        await backend.runs.answer_approval(CALLER, SESSION, QUESTION, ApprovalAnswer(decision=ALLOW))
    assert (await backend.runs.get_run(CALLER, SESSION, RUN)).status is RunStatus.INTERRUPTED


def test_recorded_answers_are_of_these_shapes() -> None:
    inputs = [json.loads(line.stored) for line in session_log("07", SESSION) if b'"RUN_STARTED"' in line.stored]
    said = [(message["role"], message["content"]) for one in inputs for message in one["input"]["messages"]]
    assert ("user", "red") in said
    assert ("tool", '{"Which colour?":"blue"}') in said
