"""How a task ended, for every command that waits for one: a word, and the exit status that goes with it."""

import time
from enum import StrEnum
from typing import Any, NamedTuple

from app.cli.api import ApiClient, CliError
from app.cli.common import EXIT_CONFLICT, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_UNREACHABLE, EXIT_WAITING, program
from app.cli.terminal import Screen

POLL_SECONDS = 0.3
WAIT_SECONDS = 60

IN_TRANSITION = frozenset({"pending", "stopping"})


class Outcome(StrEnum):
    """The end of a task, as scripts read it."""

    DONE = "done"
    FAILED = "failed"
    WAITING = "waiting"
    """The agent needs a decision."""
    UNREACHABLE = "unreachable"
    """The server has not responded, so that the end is not known."""
    CONFLICT = "conflict"
    """The task is done, but its changes do not apply to the directory."""
    INTERRUPTED = "interrupted"

    @property
    def exit_status(self) -> int:
        """The exit status of a command that ends with it."""
        return _EXIT_STATUS[self]


class Ended(NamedTuple):
    """The last run of a task, in the API's form, and how the task ended."""

    outcome: Outcome
    run: dict[str, Any]


def judge(session: dict[str, Any], run: dict[str, Any]) -> Ended:
    """Return how a run of a session that has nothing left to do ended."""
    if outcome := _BY_STATUS.get(run["status"]):
        return Ended(outcome, run)
    if session.get("activity") == "waiting":
        return Ended(Outcome.WAITING, run)
    return Ended(Outcome.FAILED if session["status"] == "failed" else Outcome.INTERRUPTED, run)


def outcome_of(error: CliError) -> Outcome:
    """Return how a task ended for a command that has failed."""
    return Outcome.UNREACHABLE if error.retryable else Outcome.FAILED


def wait_until_settled(client: ApiClient, screen: Screen, session_id: str) -> dict[str, Any]:
    """Return the session once it is neither pending nor stopping. Raises `CliError`."""
    while True:
        session: dict[str, Any] = client.get("sessions", session_id)
        if session["status"] not in IN_TRANSITION:
            screen.idle()
            return session
        screen.busy(f"Session {session_id} is {session['status']}")
        time.sleep(POLL_SECONDS)


def wait_until_idle(client: ApiClient, screen: Screen, session_id: str) -> dict[str, Any]:
    """Return the session once it has nothing left to do or needs a decision. Raises `CliError`."""
    while True:
        session: dict[str, Any] = client.get("sessions", session_id, wait=WAIT_SECONDS)
        if session["status"] not in IN_TRANSITION and session.get("activity") != "working":
            screen.idle()
            return session
        screen.busy(f"Session {session_id} is {session.get('activity') or session['status']}")
        if session["status"] == "stopping":  # the server does not wait for that
            time.sleep(POLL_SECONDS)


def wait_for_end(client: ApiClient, screen: Screen, session_id: str) -> Ended | None:
    """Return how the last run ended once the session has nothing left to do, None without a run.

    Raises `CliError`, also for a session that has failed.
    """
    session = wait_until_idle(client, screen, session_id)
    if session["status"] == "failed":
        raise CliError(not_running(session))
    runs: list[dict[str, Any]] = client.get("sessions", session_id, "runs")["runs"]
    return judge(session, client.get("sessions", session_id, "runs", runs[-1]["run_id"])) if runs else None


def not_running(session: dict[str, Any]) -> str:
    """Return the error for a session that has to run and does not."""
    reason = f": {session['error']}" if session.get("error") else "."
    return f"The session is {session['status']}{reason} To start it again: {program()} sessions start {session['id']}"


_BY_STATUS = {
    "completed": Outcome.DONE,
    "waiting": Outcome.WAITING,
    "interrupted": Outcome.INTERRUPTED,
    "error": Outcome.FAILED,
}
_EXIT_STATUS = {
    Outcome.DONE: 0,
    Outcome.FAILED: EXIT_FAILED,
    Outcome.WAITING: EXIT_WAITING,
    Outcome.UNREACHABLE: EXIT_UNREACHABLE,
    Outcome.CONFLICT: EXIT_CONFLICT,
    Outcome.INTERRUPTED: EXIT_INTERRUPTED,
}
