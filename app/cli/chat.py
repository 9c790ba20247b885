"""`chat` and `tail`: a conversation with one session, at a terminal or through pipes, and a look at one."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.attachments import Attach
from app.cli.common import DEFAULT_URL, AgentName, Key, Project, SessionId, Url, connected, program, read_standard_input

if TYPE_CHECKING:
    from app.cli.conversation import Conversation
    from app.cli.prompt import Prompt


def chat(
    session: Annotated[
        str | None,
        typer.Argument(metavar="SESSION", help="The session's id; default: the first message creates one."),
    ] = None,
    *,
    agent: AgentName = "",
    attach: Attach = [],  # noqa: B006 - typer copies it
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """Talk to a session. Ctrl-C interrupts the run, a second Ctrl-C exits; Ctrl-D exits.

    Files go with the first message.
    Without a terminal, standard input is one message. The exit status is then 0 if its run completed, 3 if the agent
    waits for a decision, 130 if the run was interrupted, 1 otherwise.
    """
    from app.cli.conversation import Conversation
    from app.cli.prompt import Prompt

    if session is not None and agent:
        raise typer.BadParameter("a session that exists has its agent already", param_hint="--agent")
    new = {"agent": agent} if agent else {}
    with connected(url, key, project, session or "") as (client, screen):
        if sys.stdin.isatty():
            prompt = Prompt(screen)
            conversation = Conversation(client, screen, decide=prompt.decide_now, new=new, files=attach)
            try:
                _converse(conversation, prompt, session)
            finally:
                if conversation.session_id:
                    screen.note(f"To continue: {program()} chat {conversation.session_id}")
            return
        conversation = Conversation(client, screen, new=new, files=attach)
        message = read_standard_input()
        if session is not None:
            conversation.attach(session)
        if exit_status := conversation.send(message).outcome.exit_status:
            raise typer.Exit(exit_status)


def tail(
    session: SessionId,
    *,
    run: Annotated[str | None, typer.Option(help="Show only this run (its id), and end with it.")] = None,
    after: Annotated[str | None, typer.Option(metavar="CURSOR", help="Show only events after this cursor.")] = None,
    follow: Annotated[bool, typer.Option(help="Show new events as they arrive, until Ctrl-C.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the events themselves, one per line.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """Show a session's events, those stored and those to come."""
    from app.cli import stream
    from app.cli.render import Renderer
    from app.cli.terminal import printable_json

    with connected(url, key, project, session) as (client, screen):
        if follow:
            frames = stream.follow(client, session, after=after, run=run)
        else:
            frames = stream.stored(client, session, after=after, run=run)
        renderer = Renderer(screen, show_users=True)
        for frame in frames:
            if as_json:
                screen.line(printable_json(frame.text))
            else:
                renderer.show(frame.event)


def _converse(conversation: "Conversation", prompt: "Prompt", session_id: str | None) -> None:
    """Send what the person types until Ctrl-D, to this session or a new one. Raises `CliError`."""
    from app.cli.api import CliError

    try:
        if session_id is not None:
            conversation.attach(session_id)
        while True:
            _decide_pending(conversation, prompt)
            text = prompt.read("> ")
            if text.strip():
                conversation.send(text)
    except EOFError:
        return
    except CliError as error:
        if error.code == "session_not_found":
            conversation.session_id = None
        raise


def _decide_pending(conversation: "Conversation", prompt: "Prompt") -> None:
    """Ask the person for a decision on each pending approval, until the input is neither yes nor no."""
    while approvals := conversation.pending_approvals():
        allow = prompt.decide(approvals[0])
        if allow is None:
            return
        conversation.decide(approvals[0], allow=allow)
