"""One session as `chat` and `run` drive it: send messages, show the runs that respond, decide approvals, interrupt."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from app.cli.api import ApiClient, CliError
from app.cli.attachments import with_message, with_task
from app.cli.outcome import (
    IN_TRANSITION,
    POLL_SECONDS,
    Ended,
    Outcome,
    judge,
    not_running,
    wait_until_settled,
)
from app.cli.render import Renderer, requested_approval
from app.cli.stream import follow
from app.cli.terminal import Screen

Decide = Callable[[dict[str, Any]], bool | None]
"""Returns whether to allow an approval that a run waits for, None if there is nobody to decide."""


class Conversation:
    """A session and the cursor up to which its log has been shown.

    `new` has the fields of a new session beside its task; `files` go with the first message. `decide` is called for
    approvals that are requested within a run; where it returns None, the run is not followed further and counts as
    waiting.
    """

    def __init__(
        self,
        client: ApiClient,
        screen: Screen,
        *,
        decide: Decide = lambda _approval: None,
        new: Mapping[str, Any] | None = None,
        files: Sequence[Path] = (),
    ) -> None:
        self._new = new or {}
        self._files = files
        self._client = client
        self._screen = screen
        self._decide = decide
        self._cursor: str | None = None
        self._is_interrupting = False
        self.session_id: str | None = None
        """None until the first message creates a session or `attach` names one."""

    def attach(self, session_id: str) -> None:
        """Wait until the session accepts messages, and show the run that is in progress. Raises `CliError`."""
        self._is_interrupting = False
        session = wait_until_settled(self._client, self._screen, session_id)
        if session["status"] != "running":
            raise CliError(not_running(session))
        self.session_id = session_id
        for run_id in self._list_runs(session_id, status="running"):
            self._show_run(session_id, run_id, show_users=True)

    def send(self, text: str) -> Ended:
        """Send a message, show its run and those that continue it; return how the last one ended. Raises `CliError`."""
        self._is_interrupting = False
        if self.session_id is None:
            created = self._client.create("sessions", task=text, **self._new, **with_task(self._take_files()))
            self.session_id = created["id"]
            self._screen.note(f"Session {self.session_id}")
            with self._interrupt_on_ctrl_c(created["id"], created.get("run_id")):
                run_id = self._wait_for_first_run(created)
        else:
            files = with_message(self._client, self.session_id, self._take_files())
            run_id = self._client.create("sessions", self.session_id, "message", content=text, **files)["run_id"]
        return self._show_run(self.session_id, run_id, show_users=False)

    def _take_files(self) -> Sequence[Path]:
        files, self._files = self._files, ()
        return files

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

    def decide(self, approval: dict[str, Any], *, allow: bool) -> Ended | None:
        """Decide an approval, show the run that resumes and return how it ended, if there is one. Raises `CliError`."""
        if self.session_id is None:
            return None
        self._is_interrupting = False
        self._post_decision(self.session_id, approval["id"], allow=allow)
        run = self._client.get("sessions", self.session_id, "runs", approval["run_id"])
        if "continued_by" not in run:
            return None
        return self._show_run(self.session_id, run["continued_by"], show_users=False)

    def _post_decision(self, session_id: str, approval_id: str, *, allow: bool) -> None:
        decision = "allow" if allow else "deny"
        try:
            self._client.post("sessions", session_id, "approvals", approval_id, decision=decision)
        except CliError as error:
            if error.code != "approval_closed":
                raise
            self._screen.note("Too late: the approval is closed.")

    def _list_runs(self, session_id: str, **query: str) -> list[str]:
        return [run["run_id"] for run in self._client.get("sessions", session_id, "runs", **query)["runs"]]

    def _wait_for_first_run(self, created: dict[str, Any]) -> str:
        """Return the id of the task's run once its session runs, or once Ctrl-C has cancelled it."""
        while True:
            session = self._client.get("sessions", created["id"])
            runs = [created["run_id"]] if "run_id" in created else self._list_runs(created["id"])
            if runs and (session["status"] == "running" or self._is_over(created["id"], runs[0])):
                return str(runs[0])
            if session["status"] not in {"running", *IN_TRANSITION}:
                if self._is_interrupting:
                    raise KeyboardInterrupt
                raise CliError(not_running(session))
            self._screen.busy(f"Session {created['id']} is {session['status']}")
            time.sleep(POLL_SECONDS)  # on a platform the run starts a while after its session

    def _is_over(self, session_id: str, run_id: str) -> bool:
        status = self._client.get("sessions", session_id, "runs", run_id)["status"]
        return status not in {"queued", "running"}

    def _show_run(self, session_id: str, run_id: str, *, show_users: bool) -> Ended:
        """Show a run to its end, and then those that continue it; return how the last one ended."""
        while True:
            ends = self._show_one_run(session_id, run_id, show_users=show_users)
            run = self._client.get("sessions", session_id, "runs", run_id)
            if "continued_by" in run:
                run_id = run["continued_by"]
            elif ends and not (run["status"] == "waiting" and self._is_interrupting):
                return judge({"status": "running"}, run)
            else:  # after Ctrl-C came too late for a run that has ended with a question, the person is not asked it
                return Ended(Outcome.INTERRUPTED if ends else Outcome.WAITING, run)

    def _show_one_run(self, session_id: str, run_id: str, *, show_users: bool) -> bool:
        """Show a run; return whether to its end, and not to an approval that nobody decides."""
        renderer = Renderer(self._screen, show_users=show_users)
        self._screen.busy("Waiting for the agent")
        is_decided = True
        with self._interrupt_on_ctrl_c(session_id, run_id):
            for frame in follow(self._client, session_id, after=self._cursor, run=run_id):
                self._cursor = frame.cursor or self._cursor
                renderer.show(frame.event)
                approval_id = requested_approval(frame.event)
                if approval_id and not self._is_interrupting:
                    self._screen.idle()
                    is_decided = self._decide_during_run(session_id, run_id, approval_id)
                    if not is_decided:
                        break
        self._screen.idle()
        self._screen.finish_line()
        return is_decided

    def _decide_during_run(self, session_id: str, run_id: str, approval_id: str) -> bool:
        """Get a decision while the run waits; meanwhile Ctrl-C interrupts the run at once.

        Return False if nobody decides and the approval stays pending.
        """
        previous = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            for approval in self.pending_approvals():
                if approval["id"] == approval_id:
                    allow = self._decide(approval)
                    if allow is None:
                        return False
                    self._post_decision(session_id, approval_id, allow=allow)
        except KeyboardInterrupt:
            self._interrupt(session_id, run_id)
        finally:
            signal.signal(signal.SIGINT, previous)
        return True

    @contextmanager
    def _interrupt_on_ctrl_c(self, session_id: str, run_id: str | None) -> Iterator[None]:
        """Let the first Ctrl-C interrupt the run, whose end is still shown, and the second one exit."""

        def handle(_number: int, _frame: FrameType | None) -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._is_interrupting = True
            threading.Thread(target=self._interrupt, args=(session_id, run_id), daemon=True).start()

        previous = signal.signal(signal.SIGINT, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)

    def _interrupt(self, session_id: str, run_id: str | None) -> None:
        self._screen.note("Interrupting the run. Ctrl-C again exits without waiting for its end.")
        try:
            if run_id is None:
                self._client.post("sessions", session_id, "stop")
            elif self._cancel_queued(session_id, run_id) == "run_active":
                self._client.post("sessions", session_id, "interrupt")
        except CliError as error:
            self._screen.error(f"The run was not interrupted: {error}")

    def _cancel_queued(self, session_id: str, run_id: str) -> str:
        """Take a run out of the queue, and return the code of the error if it is not there any more.

        To interrupt the session would end whatever run is active, which must not be another one while this one waits.
        """
        if self._client.get("sessions", session_id, "runs", run_id)["status"] != "queued":
            return "run_active"
        try:
            self._client.delete("sessions", session_id, "runs", run_id)
        except CliError as error:
            if error.code not in {"run_active", "run_ended"}:
                raise
            return error.code
        return ""
