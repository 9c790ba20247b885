"""`workers`: the workers that share a PostgreSQL database, also while they run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.startup import exit_on_store_error, fail, load_settings

if TYPE_CHECKING:
    from app.store.open import Transaction
    from app.store.workers import WorkerReport

LOOK_SECONDS = 1.0
workers = typer.Typer(help="List and drain the workers of a database.", rich_markup_mode=None)


@workers.callback(invoke_without_command=True)
def list_workers(
    context: typer.Context,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the ids of all sessions.")] = False,
) -> None:
    """List workers, those that are alive first.

    For each: id, state (alive, draining, stopped, or lost without a word), last heartbeat, sessions that it works on
    now, sessions with workspaces on its disk, the disk, its address and the agents that it can run, separated by tabs.
    """
    if context.invoked_subcommand:
        return
    import msgspec

    from app.store.workers import reports

    with _database() as transaction, transaction() as connection:
        found = reports(connection)
    if as_json:
        shown: dict[str, Any] = {"workers": found}
        typer.echo(msgspec.json.format(msgspec.json.encode(shown)))
        return
    typer.echo("id\tstate\tlast heartbeat\tsessions\tworkspaces\tdisk\taddress\tagents")
    for worker in found:
        typer.echo("\t".join(_columns(worker)))


@workers.command("drain")
def drain_worker(
    worker_id: Annotated[str, typer.Argument(metavar="ID", help="The worker's id, as the list shows it.")],
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it works on no session any more.")] = False,
) -> None:
    """Have a worker take no more sessions. Its active runs go on to their end; what is queued goes elsewhere.

    It still serves the workspaces on its disk until it is stopped, and takes sessions again once it is restarted.
    """
    from app.store.workers import drain, reports

    with _database() as transaction:
        with transaction() as connection:
            if not drain(connection, worker_id):
                fail(f"There is no worker {worker_id} that is alive; `workers` lists them.", status=1)
        while wait:
            with transaction() as connection:
                wait = any(each.id == worker_id and each.sessions for each in reports(connection))
            time.sleep(LOOK_SECONDS * wait)


@contextmanager
def _database() -> "Iterator[Transaction]":
    """Open the database that workers share; end the command if there is none."""
    from app.store.open import open_transactions, sqlite_file

    store = load_settings().store
    if store is None:
        fail("The platform at BACKEND_URL runs agents itself; workers belong to the embedded backend.", status=2)
    if sqlite_file(store):
        fail(
            "Only servers on PostgreSQL have workers; BACKEND_URL names a SQLite file, which one server uses.", status=2
        )
    with exit_on_store_error(), open_transactions(store) as transaction:
        yield transaction


def _columns(worker: "WorkerReport") -> list[str]:
    counts = str(len(worker.sessions)), str(worker.workspaces)
    place = worker.disk, worker.address or "-", ",".join(worker.agents) or "-"
    return [worker.id, worker.state, worker.last_heartbeat, *counts, *place]
