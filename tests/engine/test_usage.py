"""What the embedded backend's runs use of models and of time."""

from collections.abc import AsyncIterator
from pathlib import Path

from app.agents.port import Turn
from app.models.runs import RunStatus, Usage
from app.models.sessions import SessionUpdate
from tests.support.scripted import CALLER, STARTED, asked, echo, endless, event, house


async def spend(turn: Turn) -> AsyncIterator[bytes]:
    """Use as many tokens as the message says, or none."""
    yield STARTED
    tokens = asked(turn)
    yield event("RUN_FINISHED", usage=[{"inputTokens": int(tokens)}] if tokens.isdigit() else None)


async def test_usage_is_shown_for_each_run_and_summed_for_the_session(tmp_path: Path) -> None:
    async with house(tmp_path, spend) as home:
        session_id = await home.running("3")
        for tokens, used in (("nothing", None), ("4", Usage(input_tokens=4))):
            run = await home.ended(session_id, await home.say(session_id, tokens))
            assert run.usage == used
        assert [run.usage for run in await home.runs(session_id)] == [Usage(input_tokens=3), None, used]
        assert (await home.backend.get_session(CALLER, session_id)).usage == Usage(input_tokens=7)
    async with house(tmp_path, spend) as home:
        assert (await home.backend.get_session(CALLER, session_id)).usage == Usage(input_tokens=7)


async def test_a_session_has_no_usage_when_no_agent_reports_any(tmp_path: Path) -> None:
    async with house(tmp_path, echo) as home:
        session_id = await home.running()
        assert (await home.backend.get_session(CALLER, session_id)).usage is None


async def test_a_run_ends_as_an_error_when_it_takes_longer_than_its_session_permits(tmp_path: Path) -> None:
    async with house(tmp_path, endless) as home:
        session_id = await home.create(timeout_seconds=1)
        [task] = await home.runs(session_id)
        ended = await home.ended(session_id, task.run_id)
        assert (ended.status, ended.error) == (RunStatus.ERROR, "The run took longer than it may and was ended.")


async def test_the_limit_of_the_server_applies_when_it_is_the_shorter_one(tmp_path: Path) -> None:
    async with house(tmp_path, endless, run_timeout=0.1) as home:
        session_id = await home.create(timeout_seconds=3600)
        [task] = await home.runs(session_id)
        assert (await home.ended(session_id, task.run_id)).status is RunStatus.ERROR


async def test_a_new_limit_applies_to_the_next_run(tmp_path: Path) -> None:
    async with house(tmp_path, endless) as home:
        session_id = await home.create()
        [task] = await home.runs(session_id)
        await home.active(session_id, task.run_id)
        await home.backend.update_session(CALLER, session_id, SessionUpdate(timeout_seconds=1))
        following = await home.say(session_id, "go on")
        assert (await home.backend.interrupt_session(CALLER, session_id)).interrupted
        assert (await home.ended(session_id, task.run_id)).status is RunStatus.INTERRUPTED
        assert (await home.ended(session_id, following)).status is RunStatus.ERROR
