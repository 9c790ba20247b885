"""The program: all commands under one name."""

from typing import Annotated

import typer

from app.cli import chat, keys, serve, sessions, spec, tail
from app.cli.program import show_help

main = typer.Typer(
    name="ambient-api",
    help="One REST API for agentic sessions: the server, and a client for the terminal.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def print_version(*, wanted: bool) -> None:
    """Print the version and exit."""
    if wanted:
        from app.spec import version

        typer.echo(f"ambient-api {version()}")
        raise typer.Exit


@main.callback(invoke_without_command=True)
def main_options(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001 - its callback handles it
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Show the help where no command is given."""
    show_help(context)


main.command("serve", cls=serve.ServeCommand)(serve.serve)
main.add_typer(keys.keys, name="keys")
main.command("spec")(spec.print_spec)
main.command("chat")(chat.chat)
main.command("tail")(tail.tail)
main.add_typer(sessions.sessions, name="sessions")
