"""One session as `chat` drives it: send messages, show the runs that respond, decide approvals, interrupt."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from app.cli.api import ApiClient
from app.cli.errors import CliError
from app.cli.program import program
from app.cli.render import Renderer, requested_approval
from app.cli.stream import follow
from app.cli.terminal import Screen

POLL_SECONDS = 0.3

_IN_TRANSITION = frozenset({"pending", "stopping"})

Decide = Callable[[dict[str, Any]], bool | None]
"""Returns whether to allow an approval that a run waits for, None to leave it pending."""


class Conversation:
    """A session and the cursor up to which its log has been shown."""

    def __init__(self, client: ApiClient, screen: Screen, decide: Decide = lambda _approval: None) -> None:
        self._client = client
        self._screen = screen
        self._decide = decide
        self._cursor: str | None = None
        self.session_id: str | None = None
        """None until the first message creates a session or `attach` names one."""

    def attach(self, session_id: str) -> None:
        """Wait until the session accepts messages, and show the run that is in progress. Raises `CliError`."""
        session = wait_until_settled(self._client, self._screen, session_id)
        if session["status"] != "running":
            raise CliError(_not_running(session))
        self.session_id = session_id
        for run_id in self._list_runs(session_id, status="running"):
            self._show_run(session_id, run_id, show_users=True)

    def send(self, text: str) -> str:
        """Send a message, show its run and those that continue it; return the last one's status. Raises `CliError`."""
        if self.session_id is None:
            created = self._client.create("sessions", task=text)
            self.session_id = created["id"]
            self._screen.note(f"Session {self.session_id}")
            run_id = self._wait_for_first_run(created)
        else:
            run_id = self._client.create("sessions", self.session_id, "message", content=text)["run_id"]
        return self._show_run(self.session_id, run_id, show_users=False)

    def pending_approvals(self) -> list[dict[str, Any]]:
        """Return the approvals that wait for a decision, in the API's form. Raises `CliError`."""
        if self.session_id is None:
            return []
        try:
            found: list[dict[str, Any]] = self._client.get("sessions", self.session_id, "approvals")["items"]
        except CliError as error:
            if error.code == "not_supported":
                return []
            raise
        return found

    def decide(self, approval_id: str, *, allow: bool) -> None:
        """Decide an approval, and show the run that resumes if there is one. Raises `CliError`."""
        if self.session_id is None:
            return
        approval = self._post_decision(self.session_id, approval_id, allow=allow)
        run = self._client.get("sessions", self.session_id, "runs", approval["run_id"])
        if "continued_by" in run:
            self._show_run(self.session_id, run["continued_by"], show_users=False)

    def _post_decision(self, session_id: str, approval_id: str, *, allow: bool) -> dict[str, Any]:
        decision = "allow" if allow else "deny"
        approval: dict[str, Any] = self._client.post(
            "sessions", session_id, "approvals", approval_id, decision=decision
        )
        return approval

    def _list_runs(self, session_id: str, **query: str) -> list[str]:
        return [run["run_id"] for run in self._client.get("sessions", session_id, "runs", **query)["runs"]]

    def _wait_for_first_run(self, created: dict[str, Any]) -> str:
        while True:
            session = wait_until_settled(self._client, self._screen, created["id"])
            runs = [created["run_id"]] if "run_id" in created else self._list_runs(created["id"])
            if runs and session["status"] == "running":
                return runs[0]
            if session["status"] != "running":
                raise CliError(_not_running(session))
            time.sleep(POLL_SECONDS)  # on a platform the run starts a while after its session

    def _show_run(self, session_id: str, run_id: str, *, show_users: bool) -> str:
        """Show a run to its end, and then those that continue it; return the last one's status."""
        while True:
            self._show_one_run(session_id, run_id, show_users=show_users)
            run = self._client.get("sessions", session_id, "runs", run_id)
            if "continued_by" not in run:
                return str(run["status"])
            run_id = run["continued_by"]

    def _show_one_run(self, session_id: str, run_id: str, *, show_users: bool) -> None:
        renderer = Renderer(self._screen, show_users=show_users)
        self._screen.busy("Waiting for the agent")
        with self._interrupt_on_ctrl_c(session_id, run_id):
            for frame in follow(self._client, session_id, after=self._cursor, run=run_id, on_loss=self._screen.note):
                self._cursor = frame.cursor or self._cursor
                renderer.show(frame.event)
                if approval_id := requested_approval(frame.event):
                    self._screen.idle()
                    self._decide_during_run(session_id, run_id, approval_id)
        self._screen.idle()
        self._screen.finish_line()

    def _decide_during_run(self, session_id: str, run_id: str, approval_id: str) -> None:
        """Get a decision from the person while the run waits; meanwhile Ctrl-C interrupts the run at once."""
        previous = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            for approval in self.pending_approvals():
                if approval["id"] == approval_id and (allow := self._decide(approval)) is not None:
                    self._post_decision(session_id, approval_id, allow=allow)
        except KeyboardInterrupt:
            self._interrupt(session_id, run_id)
        except CliError as error:
            if error.code != "approval_closed":
                raise
            self._screen.note("Too late: the approval is closed.")
        finally:
            signal.signal(signal.SIGINT, previous)

    @contextmanager
    def _interrupt_on_ctrl_c(self, session_id: str, run_id: str) -> Iterator[None]:
        """Let the first Ctrl-C interrupt the run, whose end is still shown, and the second one exit."""

        def handle(_number: int, _frame: FrameType | None) -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            threading.Thread(target=self._interrupt, args=(session_id, run_id), daemon=True).start()

        previous = signal.signal(signal.SIGINT, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)

    def _interrupt(self, session_id: str, run_id: str) -> None:
        self._screen.note("Interrupting the run. Ctrl-C again exits without waiting for its end.")
        try:
            # An interrupt ends whatever run is active, which must not be another one while this one is queued.
            if self._client.get("sessions", session_id, "runs", run_id)["status"] == "queued":
                self._client.delete("sessions", session_id, "runs", run_id)
            else:
                self._client.post("sessions", session_id, "interrupt")
        except CliError as error:
            self._screen.error(f"The run was not interrupted: {error}")


def wait_until_settled(client: ApiClient, screen: Screen, session_id: str) -> dict[str, Any]:
    """Return the session once it is neither pending nor stopping. Raises `CliError`."""
    while True:
        session: dict[str, Any] = client.get("sessions", session_id)
        if session["status"] not in _IN_TRANSITION:
            screen.idle()
            return session
        screen.busy(f"Session {session_id} is {session['status']}")
        time.sleep(POLL_SECONDS)


def _not_running(session: dict[str, Any]) -> str:
    reason = f": {session['error']}" if session.get("error") else "."
    return f"The session is {session['status']}{reason} To start it again: {program()} sessions start {session['id']}"
