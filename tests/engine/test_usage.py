"""Usage of models and of time by runs of the embedded backend."""

from collections.abc import AsyncIterator
from pathlib import Path

from app.agents.port import Turn
from app.models.runs import RunStatus, Usage
from app.models.sessions import SessionUpdate
from tests.support.scripted import CALLER, STARTED, echo, endless, event, last_message, open_backend


async def spend(turn: Turn) -> AsyncIterator[bytes]:
    """Use as many tokens as the message says, or none."""
    yield STARTED
    tokens = last_message(turn)
    yield event("RUN_FINISHED", usage=[{"inputTokens": int(tokens)}] if tokens.isdigit() else None)


async def test_usage_is_shown_for_each_run_and_summed_for_the_session(tmp_path: Path) -> None:
    async with open_backend(tmp_path, spend) as harness:
        session_id = await harness.running("3")
        for tokens, used in (("nothing", None), ("4", Usage(input_tokens=4))):
            run = await harness.ended(session_id, await harness.say(session_id, tokens))
            assert run.usage == used
        assert [run.usage for run in await harness.runs(session_id)] == [Usage(input_tokens=3), None, used]
        assert (await harness.backend.sessions.get_session(CALLER, session_id)).usage == Usage(input_tokens=7)
    async with open_backend(tmp_path, spend) as harness:
        assert (await harness.backend.sessions.get_session(CALLER, session_id)).usage == Usage(input_tokens=7)


async def test_a_session_has_no_usage_when_no_agent_reports_any(tmp_path: Path) -> None:
    async with open_backend(tmp_path, echo) as harness:
        session_id = await harness.running()
        assert (await harness.backend.sessions.get_session(CALLER, session_id)).usage is None


async def test_a_run_ends_as_an_error_when_it_takes_longer_than_its_session_permits(tmp_path: Path) -> None:
    async with open_backend(tmp_path, endless) as harness:
        session_id = await harness.create(timeout_seconds=1)
        [task] = await harness.runs(session_id)
        ended = await harness.ended(session_id, task.run_id)
        assert (ended.status, ended.error) == (RunStatus.ERROR, "The run took longer than it may and was ended.")


async def test_the_limit_of_the_server_applies_when_it_is_the_shorter_one(tmp_path: Path) -> None:
    async with open_backend(tmp_path, endless, run_timeout=0.1) as harness:
        session_id = await harness.create(timeout_seconds=3600)
        [task] = await harness.runs(session_id)
        assert (await harness.ended(session_id, task.run_id)).status is RunStatus.ERROR


async def test_a_new_limit_applies_to_the_next_run(tmp_path: Path) -> None:
    async with open_backend(tmp_path, endless) as harness:
        session_id = await harness.create()
        [task] = await harness.runs(session_id)
        await harness.active(session_id, task.run_id)
        await harness.backend.sessions.update_session(CALLER, session_id, SessionUpdate(timeout_seconds=1))
        following = await harness.say(session_id, "go on")
        assert (await harness.backend.runs.interrupt_session(CALLER, session_id)).interrupted
        assert (await harness.ended(session_id, task.run_id)).status is RunStatus.INTERRUPTED
        assert (await harness.ended(session_id, following)).status is RunStatus.ERROR
