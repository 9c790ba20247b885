"""`chat`: a conversation with one session, at a terminal or through pipes."""

import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.errors import CliError
from app.cli.options import DEFAULT_URL, Key, Project, Url, connected, read_standard_input
from app.cli.program import program

if TYPE_CHECKING:
    from app.cli.conversation import Conversation
    from app.cli.terminal import Screen


def chat(
    session: Annotated[
        str | None,
        typer.Argument(metavar="SESSION", help="The session's id; default: the first message creates one."),
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """Talk to a session. Ctrl-C interrupts the run, a second Ctrl-C exits; Ctrl-D exits.

    Without a terminal, standard input is one message. The exit status is then 0 if its run completed, 3 if the agent
    waits for a decision, 1 otherwise.
    """
    from app.cli.conversation import Conversation

    with connected(url, key, project, session or "") as (client, screen):
        if sys.stdin.isatty():
            prompt = Prompt(screen)
            conversation = Conversation(client, screen, decide=prompt.decide_now)
            try:
                _converse(conversation, prompt, session)
            finally:
                if conversation.session_id:
                    screen.note(f"To continue: {program()} chat {conversation.session_id}")
            return
        conversation = Conversation(client, screen)
        message = read_standard_input()
        if session is not None:
            conversation.attach(session)
        if exit_status := RUN_EXIT_STATUS.get(conversation.send(message), 1):
            raise typer.Exit(exit_status)


RUN_EXIT_STATUS = {"completed": 0, "waiting": 3}
"""Exit statuses by the status of a run; any other one is a failure."""


class Prompt:
    """Input of the person at the terminal. All of it raises EOFError on Ctrl-D."""

    def __init__(self, screen: "Screen") -> None:
        self._screen = screen
        with suppress(ImportError):  # not every Python has it
            import readline  # noqa: F401 - gives input() editing and history

    def read(self, prompt: str) -> str:
        """Return the next line."""
        if self._screen.is_terminal:
            return input(prompt)
        sys.stderr.write(prompt)  # standard output goes elsewhere and gets only what the agent writes
        sys.stderr.flush()
        if line := sys.stdin.readline():
            return line.removesuffix("\n")
        raise EOFError

    def decide(self, approval: dict[str, Any]) -> bool | None:
        """Return whether to allow what the agent wants to do, None if the input is neither yes nor no."""
        wanted = " ".join(filter(None, (approval.get("message"), approval.get("tool_name"))))
        self._screen.line(wanted or "May the agent continue?")
        if "args" in approval:
            self._screen.line(f"  {json.dumps(approval['args'], ensure_ascii=False)}", "dim")
        decision = self.read("Allow? [y/n] ").strip().lower()
        return decision.startswith("y") if decision in {"y", "yes", "n", "no"} else None

    def decide_now(self, approval: dict[str, Any]) -> bool:
        """Return whether to allow it, once the input is yes or no: the run is waiting."""
        while (allow := self.decide(approval)) is None:
            self._screen.note("The run is waiting: type y to allow it, n to deny it.")
        return allow


def _converse(conversation: "Conversation", prompt: Prompt, session_id: str | None) -> None:
    """Send what the person types until Ctrl-D, to this session or a new one. Raises `CliError`."""
    try:
        if session_id is not None:
            conversation.attach(session_id)
        while True:
            _decide_pending(conversation, prompt)
            text = prompt.read("> ")
            if text.strip():
                conversation.send(text)
    except EOFError:
        sys.stderr.write("\n")
    except CliError as error:
        if error.code == "session_not_found":
            conversation.session_id = None
        raise


def _decide_pending(conversation: "Conversation", prompt: Prompt) -> None:
    """Ask the person for a decision on each pending approval, until the input is neither yes nor no."""
    while approvals := conversation.pending_approvals():
        allow = prompt.decide(approvals[0])
        if allow is None:
            return
        conversation.decide(approvals[0]["id"], allow=allow)
