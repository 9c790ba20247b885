"""Shared by the commands: options and arguments, the client's connection, standard input, the program's name."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from app.cli.api import ApiClient
    from app.cli.terminal import Screen

DEFAULT_URL = "http://127.0.0.1:8081"
EXIT_FAILED = 1
EXIT_WAITING = 3
EXIT_UNREACHABLE = 4
EXIT_CONFLICT = 5
EXIT_INTERRUPTED = 130

Url = Annotated[str, typer.Option(envvar="AMBIENT_URL", help="The server's URL.")]
Key = Annotated[
    str,
    typer.Option(
        envvar="AMBIENT_KEY",
        show_default=False,
        help="The access key or token. Prefer AMBIENT_KEY: others can read a command line, and a shell remembers it.",
    ),
]
Project = Annotated[
    str, typer.Option(envvar="AMBIENT_PROJECT", show_default=False, help="The project; default: the key's project.")
]
SessionId = Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.")]
AgentName = Annotated[str, typer.Option("--agent", help="The agent; default: the server's default one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the server's response as JSON.")]


@contextmanager
def connected(
    url: str, key: str, project: str, session: str = "", *, reserve_output: bool = False
) -> Iterator[tuple["ApiClient", "Screen"]]:
    """Yield a client and a screen. An error becomes one line on standard error and an exit status.

    `reserve_output` leaves standard output to the result of the command.
    """
    from app.cli.api import ApiClient, CliError, check_session_id
    from app.cli.terminal import Screen

    with Screen(reserve_output=reserve_output) as screen:
        try:
            if session:
                check_session_id(session)
            with ApiClient(url, key=key, project=project, on_loss=screen.note) as client:
                yield client, screen
        except CliError as error:
            screen.error(str(error))
            raise typer.Exit(EXIT_UNREACHABLE if error.retryable else EXIT_FAILED) from error
        except KeyboardInterrupt as interrupt:
            raise typer.Exit(EXIT_INTERRUPTED) from interrupt


def read_standard_input() -> str:
    """Return all of standard input without the line breaks at its end."""
    return sys.stdin.buffer.read().decode(errors="replace").rstrip("\r\n")


def show_help(context: typer.Context) -> None:
    """Print the help of a group of commands if none of them is given. Used as the group's callback."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def program() -> str:
    """Return the beginning of a command line that starts this program again from the same directory."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return f"{_shortest(sys.executable)} -m {started.parent.name}"
    found = shutil.which(started.name)
    if found and Path(found).samefile(started):
        return started.name
    return _shortest(str(started.absolute()))


def _shortest(path: str) -> str:
    """Return the path relative to the working directory if it lies below it, quoted for a shell."""
    relative = os.path.relpath(path)
    return shlex.quote(path if relative.startswith(os.pardir) else relative)
