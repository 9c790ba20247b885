"""Shared by the client's commands: options and arguments, the connection made from them, and standard input."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.errors import CliError

if TYPE_CHECKING:
    from app.cli.api import ApiClient
    from app.cli.terminal import Screen

DEFAULT_URL = "http://127.0.0.1:8081"
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
AsJson = Annotated[bool, typer.Option("--json", help="Print the server's response as JSON.")]
Wait = Annotated[bool, typer.Option("--wait", help="Return when the session has reached its new state.")]


@contextmanager
def connected(url: str, key: str, project: str, session: str = "") -> Iterator[tuple["ApiClient", "Screen"]]:
    """Yield a client and a screen. An error becomes one line on standard error and exit status 1."""
    from app.cli.api import ApiClient, check_session_id
    from app.cli.terminal import Screen

    with Screen() as screen:
        try:
            if session:
                check_session_id(session)
            with ApiClient(url, key=key, project=project) as client:
                yield client, screen
        except CliError as error:
            screen.error(str(error))
            raise typer.Exit(1) from error
        except KeyboardInterrupt as interrupt:
            raise typer.Exit(EXIT_INTERRUPTED) from interrupt


def read_standard_input() -> str:
    """Return all of standard input without the line breaks at its end."""
    return sys.stdin.buffer.read().decode(errors="replace").rstrip("\r\n")
