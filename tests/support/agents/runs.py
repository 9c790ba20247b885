"""A run of an agent as a client of the API reads it."""

from typing import Any

from tests.support.api import Api


def events(api: Api, session_id: str, run_id: str) -> list[dict[str, Any]]:
    """Return the run's events so far."""
    found: list[dict[str, Any]] = api.output(session_id, format="events", run_id=run_id).ok()["events"]
    return found


def text(api: Api, session_id: str, run_id: str) -> str:
    """Return the agent's text so far, the deltas joined."""
    found = events(api, session_id, run_id)
    return "".join(each["delta"] for each in found if each["type"] == "TEXT_MESSAGE_CONTENT")


def reply(api: Api, session_id: str, message: str) -> str:
    """Send a message, wait for its run to complete, and return the agent's text."""
    run = api.say(session_id, message)
    assert run["status"] == "completed", run
    return text(api, session_id, run["run_id"])
