"""How an ACP agent, a real process, goes on with its conversation after its own end and the server's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, update

from app.agents.acp import sessions
from app.store.tables import AGENT_STATES
from tests.support.agents.process import scripted_acp
from tests.support.agents.runs import reply, text
from tests.support.api import Api
from tests.support.server import Background
from tests.support.stage import EmbeddedStage, embedded_stage


def restart(api: Api, session_id: str) -> None:
    """Stop and start a session: a new process of its agent."""
    api.stop_session(session_id).ok()
    api.wait_for_status(session_id, "stopped")
    api.start_session(session_id).ok()
    api.wait_for_status(session_id, "running")


@pytest.mark.parametrize("way", ["--load", "--resume"])
def test_a_conversation_is_resumed_after_stop_and_start(loop: Background, tmp_path: Path, way: str) -> None:
    with embedded_stage(loop, tmp_path, agent=scripted_acp(way)) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="hello")
        restart(api, session_id)
        assert reply(api, session_id, "again") == "2: again", "and the messages that the agent repeats are no events"


def test_each_thread_is_resumed_for_itself(loop: Background, tmp_path: Path) -> None:
    with embedded_stage(loop, tmp_path, agent=scripted_acp("--load")) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="hello")
        replies: list[tuple[str, str]] = []
        for thread in ("other", "other", session_id):
            body = {"thread_id": thread, "messages": [{"role": "user", "content": "again"}]}
            run_id = api.create_run(session_id, **body).ok()["run_id"]
            api.wait_for_run(session_id, run_id)
            replies.append((thread, text(api, session_id, run_id)))
            restart(api, session_id)
        assert replies == [("other", "1: again"), ("other", "2: again"), (session_id, "2: again")]


def test_a_message_that_never_reached_the_agent_is_sent_with_the_next_one(loop: Background, tmp_path: Path) -> None:
    with embedded_stage(loop, tmp_path, agent=scripted_acp("--load")) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="hello")
    with embedded_stage(loop, tmp_path, agent="acp:/nonexistent/agent") as stage, stage.api(api.project) as api:
        assert api.say(session_id, "into the void")["status"] == "error"
    with embedded_stage(loop, tmp_path, agent=scripted_acp("--load")) as stage, stage.api(api.project) as api:
        assert reply(api, session_id, "again") == "2: into the void\n\nagain"


def corrupt(stage: EmbeddedStage) -> None:
    engine = create_engine(stage.store)
    with engine.begin() as connection:
        connection.execute(update(AGENT_STATES).values(state="garbage"))
    engine.dispose()


def intact(_stage: EmbeddedStage) -> None:
    """Leave the saved state as it is."""


@pytest.mark.parametrize(
    ("flags", "damage"),
    [
        (("--load", "--fail"), intact),
        (("--resume", "--hang"), intact),
        (("--load",), corrupt),
    ],
)
def test_an_agent_that_cannot_resume_gets_the_conversation_as_text(
    loop: Background,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    damage: Callable[[EmbeddedStage], None],
) -> None:
    monkeypatch.setattr(sessions, "RESUME_SECONDS", 0.2)
    with embedded_stage(loop, tmp_path, agent=scripted_acp(*flags)) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="hello")
        damage(stage)
        restart(api, session_id)
        prompt = reply(api, session_id, "again")
    assert prompt.startswith("1: Our conversation so far:\n\nuser: hello")
    assert prompt.endswith("again")


def test_an_agent_that_exits_when_it_resumes_starts_over_in_the_next_turn(loop: Background, tmp_path: Path) -> None:
    with embedded_stage(loop, tmp_path, agent=scripted_acp("--load", "--die")) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="hello")
        restart(api, session_id)
        assert api.say(session_id, "again")["status"] == "error"
        assert reply(api, session_id, "again").startswith("1: Our conversation so far:")


def test_the_cost_of_a_conversation_is_counted_once(loop: Background, tmp_path: Path) -> None:
    """The agent reports the cost of its whole session, turns in an earlier process included."""
    with embedded_stage(loop, tmp_path, agent=scripted_acp("--load")) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="spend 0.25")
        restart(api, session_id)
        costs = [api.say(session_id, f"spend {cost}")["usage"]["cost_usd"] for cost in ("0.75", "0.75", "0.1")]
        assert costs == [0.5, 0.0, 0.1], "a total that is smaller is that of a new count"
        usage: dict[str, Any] = api.get_session(session_id).ok()["usage"]
    assert usage == {"input_tokens": 12, "output_tokens": 16, "total_tokens": 28, "cost_usd": 0.85}
