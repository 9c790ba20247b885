"""What an ACP agent, a real process, knows of its conversation after its own end and the server's."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, update

from app.agents.acp import sessions
from app.store.tables import MEMORIES
from tests.support.api import Api
from tests.support.server import Background
from tests.support.stage import EmbeddedStage, embedded_stage

SCRIPT = Path(__file__).parents[1] / "support" / "agents" / "acp_agent.py"


def agent(*flags: str) -> str:
    return "acp:" + shlex.join([sys.executable, str(SCRIPT), *flags])


def said(api: Api, session_id: str, message: str) -> str:
    """What the agent says to a message."""
    run = api.say(session_id, message)
    assert run["status"] == "completed"
    found = api.output(session_id, format="events", run_id=run["run_id"]).ok()["events"]
    return "".join(each["delta"] for each in found if each["type"] == "TEXT_MESSAGE_CONTENT")


def restart(api: Api, session_id: str) -> None:
    """Stop and start a session: a new process of its agent."""
    api.stop_session(session_id).ok()
    api.wait_for_status(session_id, "stopped")
    api.start_session(session_id).ok()
    api.wait_for_status(session_id, "running")


@pytest.mark.parametrize("way", ["--load", "--resume"])
def test_a_session_goes_on_where_it_was_after_stop_and_start(loop: Background, tmp_path: Path, way: str) -> None:
    with embedded_stage(loop, tmp_path, agent=agent(way)) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="hello")
        restart(api, session_id)
        assert said(api, session_id, "again") == "2: again", "and nothing that the agent repeats is an event"


def test_each_thread_goes_on_for_itself(loop: Background, tmp_path: Path) -> None:
    with embedded_stage(loop, tmp_path, agent=agent("--load")) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="hello")
        answers: list[tuple[str, str]] = []
        for thread in ("other", "other", session_id):
            body = {"thread_id": thread, "messages": [{"role": "user", "content": "again"}]}
            run_id = api.create_run(session_id, **body).ok()["run_id"]
            api.wait_for_run(session_id, run_id)
            found = api.output(session_id, format="events", run_id=run_id).ok()["events"]
            text = "".join(each["delta"] for each in found if each["type"] == "TEXT_MESSAGE_CONTENT")
            answers.append((thread, text))
            restart(api, session_id)
        assert answers == [("other", "1: again"), ("other", "2: again"), (session_id, "2: again")]


def test_what_was_said_to_an_agent_that_never_heard_it_is_told_later(loop: Background, tmp_path: Path) -> None:
    with embedded_stage(loop, tmp_path, agent=agent("--load")) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="hello")
    with embedded_stage(loop, tmp_path, agent="acp:/nonexistent/agent") as stage, stage.api(api.project) as api:
        assert api.say(session_id, "into the void")["status"] == "error"
    with embedded_stage(loop, tmp_path, agent=agent("--load")) as stage, stage.api(api.project) as api:
        assert said(api, session_id, "again") == "2: into the void\n\nagain"


def spoil(stage: EmbeddedStage) -> None:
    engine = create_engine(f"sqlite:///{stage.database}")
    with engine.begin() as connection:
        connection.execute(update(MEMORIES).values(memory="garbage"))
    engine.dispose()


def keep(_stage: EmbeddedStage) -> None:
    """Nothing happens to what is remembered."""


@pytest.mark.parametrize(
    ("flags", "accident"),
    [
        (("--load", "--fail"), keep),
        (("--resume", "--hang"), keep),
        (("--load",), spoil),
    ],
)
def test_an_agent_that_does_not_take_up_its_conversation_is_told_of_it(
    loop: Background,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    accident: Callable[[EmbeddedStage], None],
) -> None:
    monkeypatch.setattr(sessions, "RESUME_SECONDS", 0.2)
    with embedded_stage(loop, tmp_path, agent=agent(*flags)) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="hello")
        accident(stage)
        restart(api, session_id)
        answer = said(api, session_id, "again")
    assert answer.startswith("1: Our conversation so far:\n\nuser: hello")
    assert answer.endswith("again")


def test_an_agent_that_dies_of_its_earlier_conversation_begins_anew(loop: Background, tmp_path: Path) -> None:
    with embedded_stage(loop, tmp_path, agent=agent("--load", "--die")) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="hello")
        restart(api, session_id)
        assert api.say(session_id, "again")["status"] == "error"
        assert said(api, session_id, "again").startswith("1: Our conversation so far:")


def test_what_a_conversation_costs_is_counted_once(loop: Background, tmp_path: Path) -> None:
    """The agent tells what its whole session has cost, even of turns in another process."""
    with embedded_stage(loop, tmp_path, agent=agent("--load")) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="spend 0.25")
        restart(api, session_id)
        costs = [api.say(session_id, f"spend {cost}")["usage"]["cost_usd"] for cost in ("0.75", "0.75", "0.1")]
        assert costs == [0.5, 0.0, 0.1], "one that begins to count anew has spent what it says"
        usage: dict[str, Any] = api.get_session(session_id).ok()["usage"]
    assert usage == {"input_tokens": 12, "output_tokens": 16, "total_tokens": 28, "cost_usd": 0.85}


def test_the_session_s_model_is_the_agent_s(loop: Background, tmp_path: Path) -> None:
    """By its value, by its name, even by one that is not listed; without one the agent's own choice stays."""
    with embedded_stage(loop, tmp_path, agent=agent("--models", "--load")) as stage, stage.api() as api:
        for model in (None, "maker/large", "maker/unlisted", "large"):
            session_id = stage.session(api, "running", task="hello", model=model)
            expected = {None: "maker/small", "large": "maker/large"}.get(model, model)
            assert said(api, session_id, "model") == expected
        restart(api, session_id)
        assert said(api, session_id, "model") == "maker/large"


@pytest.mark.parametrize("flags", [("--models",), ()])
def test_a_model_that_the_agent_does_not_take_is_in_the_log(
    loop: Background, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    with embedded_stage(loop, tmp_path, agent=agent(*flags)) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="hello", model="unknown")
        told = [line.split(" ", 1)[1] for line in api.logs(session_id)]
    assert "agent: cannot be given the model unknown; its own choice stays" in told
