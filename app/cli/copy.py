"""`copy`: the sessions of one server's file, moved to a PostgreSQL database."""

import os
from typing import Annotated

import typer

from app.cli.startup import exit_on_store_error, fail, load_settings

SHOWN = ("sessions", "runs", "events", "approvals", "access_keys", "idempotency_keys")
"""The tables whose numbers are printed."""


def copy(
    source: Annotated[str, typer.Option("--from", metavar="URL", help="The store to copy, sqlite:///<file>.")],
    target: Annotated[
        str,
        typer.Option(
            "--to", metavar="URL", envvar="BACKEND_URL", help="An empty database, postgresql://…; default: BACKEND_URL."
        ),
    ],
) -> None:
    """Copy a session store from a SQLite file, which no server uses, into an empty PostgreSQL database.

    All of it is copied, or nothing. The workspaces stay in DATA_DIR, which is to be that of the file's server: a worker
    with this directory goes on with the sessions.
    """
    from app.engine.cluster.disk import DiskError, read_disk_id
    from app.setting_types import POSTGRESQL, SQLITE
    from app.store.copy import copy_store
    from app.store.open import ensure_unused, shown_url, sqlite_file

    settings = load_settings()
    source = _store(source, SQLITE, "--from", "sqlite:///<file>")
    target = _store(target, POSTGRESQL, "--to", "postgresql://<user>:<password>@<host>/<database>")
    file = sqlite_file(source)
    if not (file and file.exists()):
        fail(f"There is no session store {file}.", status=1)
    if not settings.data_dir.is_dir():
        fail(f"There is no DATA_DIR {settings.data_dir}; set it to the one with the workspaces of {file}.", status=1)
    try:
        with exit_on_store_error():
            ensure_unused(source)
            counts = copy_store(source, target, read_disk_id(settings.data_dir))
    except DiskError as error:
        fail(str(error), status=1)
    key = "the same SECRETS_KEY" if settings.secrets_key else f"SECRETS_KEY set to what {settings.secrets_key_file} has"
    numbers = ", ".join(f"{name.replace('_', ' ')} {counts[name]}" for name in SHOWN)
    typer.echo(f"Copied to {shown_url(target)}: {numbers}.")
    typer.echo(f"The workspaces are still in {settings.data_dir}. Start a worker with that DATA_DIR and {key}, or move")
    typer.echo("the directory, with its file disk-id, to where the worker is.")


def _store(url: str, prefix: str, option: str, form: str) -> str:
    """Return the URL of a store as the setting BACKEND_URL takes it."""
    from app.setting_types import SettingsError
    from app.settings import load

    try:
        store = load({**os.environ, "BACKEND_URL": url}).store
    except SettingsError:
        store = None
    if store is None or not store.startswith(prefix):
        raise typer.BadParameter(f"must be {form}", param_hint=option)
    return store
