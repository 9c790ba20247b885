"""The saved state of an agent's own session for a thread."""

import pytest

from app.agents.acp.sessions import AgentSession


def test_a_saved_session_is_restored() -> None:
    session = AgentSession("session", "m1", 0.5)
    assert AgentSession.from_state(session.to_state()) == session


@pytest.mark.parametrize(
    "state", [None, "", "garbage", "[]", "{}", '{"session_id":1}', '{"session_id":"s","cost":"x"}']
)
def test_a_state_that_is_not_ours_is_no_session(state: str | None) -> None:
    assert AgentSession.from_state(state) is None
