"""The program: all commands under one name."""

from enum import StrEnum
from typing import Annotated

import typer

from app.cli import (
    agents,
    chat,
    conform,
    copy,
    keys,
    message,
    run,
    secrets,
    serve,
    sessions,
    worker,
    workers,
    workspace,
)
from app.cli.common import show_help

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


class SpecFormat(StrEnum):
    """The notation of the document."""

    YAML = "yaml"
    JSON = "json"


def print_spec(
    form: Annotated[SpecFormat, typer.Option("--format", help="The notation to print.")] = SpecFormat.YAML,
) -> None:
    """Print the OpenAPI document that the server serves."""
    from app import spec

    document = spec.published(spec.load())
    typer.echo(spec.as_yaml(document) if form is SpecFormat.YAML else spec.as_json(document))


def migrate() -> None:
    """Create or migrate the tables of the session store; a server does the same when it starts."""
    from app.cli.startup import exit_on_store_error, fail, load_settings
    from app.store.open import open_transactions, shown_url

    store = load_settings().store
    if store is None:
        fail("The platform at BACKEND_URL keeps its sessions itself; there is no store to migrate.", status=2)
    with exit_on_store_error(), open_transactions(store):
        typer.echo(f"{shown_url(store)} is up to date.")


main.command("serve", cls=serve.ServeCommand)(serve.serve)
main.add_typer(keys.keys, name="keys")
main.add_typer(secrets.secrets, name="secrets")
main.command("agents")(agents.list_agents)
main.command("worker")(worker.work)
main.add_typer(workers.workers, name="workers")
main.command("migrate")(migrate)
main.command("copy")(copy.copy)
main.command("spec")(print_spec)
main.command("run")(run.run)
main.command("chat")(chat.chat)
main.command("tail")(chat.tail)
main.add_typer(sessions.sessions, name="sessions")
sessions.sessions.command("message")(message.send_message)
sessions.sessions.command("diff")(workspace.show_diff)
sessions.sessions.command("files")(workspace.list_files)
sessions.sessions.command("get")(workspace.get_file)
sessions.sessions.command("put")(workspace.put_file)
sessions.sessions.command("archive")(workspace.get_archive)
sessions.sessions.command("push")(workspace.push)
main.command("conform")(conform.conform)
