"""A conversation with one session: ask, see the answer grow, interrupt."""

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

from app.cli.api import ApiClient, CliError
from app.cli.render import Renderer, asked
from app.cli.stream import follow
from app.cli.terminal import Screen

POLL_SECONDS = 0.3

_ON_THE_WAY = frozenset({"pending", "stopping"})


class Chat:
    """One session, and where its reader stands in its log."""

    def __init__(self, client: ApiClient, screen: Screen) -> None:
        """The first message makes a session, unless `attach` names one."""
        self._client = client
        self._screen = screen
        self.session: str | None = None
        """Its id, while there is one to go on with."""
        self.decide: Callable[[dict[str, Any]], bool | None] = lambda _question: None
        """Puts an approval to the person: whether the agent may, None for no decision."""
        self._position = 0

    def attach(self, session_id: str) -> None:
        """Wait until the session takes messages, and show the run that is under way; raises Failure."""
        session = wait_until_settled(self._client, self._screen, session_id)
        if session["status"] != "running":
            raise CliError(_why_not(session))
        self.session = session_id
        for run in self._runs(session_id, status="running"):
            self._watch(session_id, run, show_users=True)

    def say(self, text: str) -> bool:
        """Send a message and show the run that answers it; whether it completed. Raises Failure."""
        if self.session is None:
            self.session = self._client.create("sessions", task=text)["id"]
            self._screen.note(f"Session {self.session}")
            run = self._first_run(self.session)
        else:
            run = self._client.create("sessions", self.session, "message", content=text)["run_id"]
        return self._watch(self.session, run, show_users=False)

    def questions(self) -> list[dict[str, Any]]:
        """What the agent waits to be allowed, the approvals as the API gives them; raises Failure."""
        if self.session is None:
            return []
        try:
            found: list[dict[str, Any]] = self._client.get("sessions", self.session, "approvals")["items"]
        except CliError as failure:
            if failure.code == "not_supported":
                return []
            raise
        return found

    def answer(self, approval: str, *, allow: bool) -> None:
        """Answer an approval (its id), and show the run that takes the answer up, if it begins now; raises Failure."""
        if self.session is None:
            return
        known = self._runs(self.session)
        self._post(self.session, approval, allow=allow)
        for run in self._runs(self.session):
            if run not in known:
                self._watch(self.session, run, show_users=False)

    def _post(self, session: str, approval: str, *, allow: bool) -> None:
        self._client.post("sessions", session, "approvals", approval, decision="allow" if allow else "deny")

    def _runs(self, session: str, **query: str) -> list[str]:
        return [run["run_id"] for run in self._client.get("sessions", session, "runs", **query)["runs"]]

    def _first_run(self, session_id: str) -> str:
        while True:
            session = wait_until_settled(self._client, self._screen, session_id)
            runs = self._client.get("sessions", session_id, "runs")["runs"]
            if runs and session["status"] == "running":
                return str(runs[0]["run_id"])
            if session["status"] != "running":
                raise CliError(_why_not(session))
            time.sleep(POLL_SECONDS)  # a platform's run begins a while after its session

    def _watch(self, session: str, run: str, *, show_users: bool) -> bool:
        renderer = Renderer(self._screen, show_users=show_users)
        self._screen.busy("Waiting for the agent")
        with self._interrupting(session, run):
            for frame in follow(self._client, session, after=self._position, run=run, lost=self._screen.note):
                self._position = frame.position or self._position
                renderer.show(frame.event)
                if approval := asked(frame.event):
                    self._screen.idle()
                    self._let_decide(session, run, approval)
        self._screen.idle()
        self._screen.finish_line()
        status: str = self._client.get("sessions", session, "runs", run)["status"]
        return status == "completed"

    def _let_decide(self, session: str, run: str, approval: str) -> None:
        """Let the person answer what the agent asks within the run; here Ctrl-C interrupts the run at once."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            for question in self.questions():
                if question["id"] == approval and (allow := self.decide(question)) is not None:
                    self._post(session, approval, allow=allow)
        except KeyboardInterrupt:
            self._interrupt(session, run)
        except CliError as failure:
            if failure.code != "approval_closed":
                raise
            self._screen.note("Too late: the question is closed.")
        finally:
            signal.signal(signal.SIGINT, before)

    @contextmanager
    def _interrupting(self, session: str, run: str) -> Iterator[None]:
        """The first Ctrl-C interrupts the run and lets its end be seen, the second one leaves."""

        def handle(_number: int, _frame: FrameType | None) -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            threading.Thread(target=self._interrupt, args=(session, run), daemon=True).start()

        before = signal.signal(signal.SIGINT, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _interrupt(self, session: str, run: str) -> None:
        self._screen.note("Interrupting the run; Ctrl-C again leaves it alone.")
        try:
            # The signal goes to whatever runs now, which is not ours to end while our own run still waits.
            if self._client.get("sessions", session, "runs", run)["status"] == "queued":
                self._client.delete("sessions", session, "runs", run)
            else:
                self._client.post("sessions", session, "interrupt")
        except CliError as failure:
            self._screen.error(f"The run was not interrupted: {failure}")


def wait_until_settled(client: ApiClient, screen: Screen, session_id: str) -> dict[str, Any]:
    """The session once it is neither pending nor stopping; raises Failure."""
    while True:
        session: dict[str, Any] = client.get("sessions", session_id)
        if session["status"] not in _ON_THE_WAY:
            screen.idle()
            return session
        screen.busy(f"Session {session_id} is {session['status']}")
        time.sleep(POLL_SECONDS)


def converse(chat: Chat, screen: Screen, session: str | None) -> None:
    """Ask at the terminal until Ctrl-D, in a session (its id) or a new one; raises Failure when it cannot go on."""
    with suppress(ImportError):  # not every Python has it
        import readline  # noqa: F401, PLC0415 - gives input() editing and history, where it is wanted

    chat.decide = partial(_insist, screen)
    try:
        if session is not None:
            chat.attach(session)
        while True:
            _let_decide(chat, screen)
            text = _ask("> ", screen)
            if text.strip():
                chat.say(text)
    except EOFError:
        sys.stderr.write("\n")
    except CliError as failure:
        if failure.code == "session_not_found":
            chat.session = None
        raise


def _let_decide(chat: Chat, screen: Screen) -> None:
    """Put the agent's questions to the person; what is neither yes nor no leaves the rest open."""
    while questions := chat.questions():
        question = questions[0]
        allow = _decide(screen, question)
        if allow is None:
            return
        chat.answer(question["id"], allow=allow)


def _insist(screen: Screen, question: dict[str, Any]) -> bool:
    """Put a question within a run to the person until the answer is yes or no; there is no prompt to leave it for."""
    while (allow := _decide(screen, question)) is None:
        screen.note("The run waits: y allows it, n does not.")
    return allow


def _decide(screen: Screen, question: dict[str, Any]) -> bool | None:
    """Put one question to the person; None for an answer that is neither yes nor no."""
    screen.line(" ".join(filter(None, (question.get("message"), question.get("tool_name")))) or "May the agent go on?")
    if "args" in question:
        screen.line(f"  {json.dumps(question['args'], ensure_ascii=False)}", "dim")
    decision = _ask("Allow? [y/n] ", screen).strip().lower()
    return decision.startswith("y") if decision in {"y", "yes", "n", "no"} else None


def _ask(prompt: str, screen: Screen) -> str:
    if screen.is_terminal:
        return input(prompt)
    sys.stderr.write(prompt)  # standard output goes elsewhere, and holds answers only
    sys.stderr.flush()
    if line := sys.stdin.readline():
        return line.removesuffix("\n")
    raise EOFError


def _why_not(session: dict[str, Any]) -> str:
    why = f"The session is {session['status']}"
    why += f": {session['error']}" if session.get("error") else "."
    return f"{why} To take it up again: python -m app sessions start {session['id']}"
