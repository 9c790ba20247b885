"""`keys`: create, list and revoke access keys of the embedded backend, also while its server is running."""

import datetime
import re
from pathlib import Path
from typing import Annotated

import typer

from app.cli.program import show_help
from app.cli.startup import fail, load_settings, open_keys
from app.models.caller import Role

keys = typer.Typer(help="Manage the access keys of the embedded backend.", rich_markup_mode=None)
keys.callback(invoke_without_command=True)(show_help)

_PROJECT = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MAX_LIFETIME = datetime.timedelta(days=36_500)


@keys.command("create")
def create_key(
    project: Annotated[str, typer.Option(help="The project that the key is for.")],
    role: Annotated[Role, typer.Option(help="view reads, edit also creates and controls, admin also deletes.")],
    *,
    name: Annotated[str, typer.Option(help="A name to show in the list.")] = "",
    expires: Annotated[
        str | None, typer.Option(help="How long it is valid, such as 12h or 30d; default: forever.")
    ] = None,
    new_store: Annotated[
        bool, typer.Option("--new-store", help="Create the session store if there is none yet.")
    ] = False,
) -> None:
    """Create a key and print it, this once: the store holds only a hash of it."""
    if not _PROJECT.fullmatch(project):
        raise typer.BadParameter(
            "must be 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends", param_hint="--project"
        )
    if not name.isprintable():
        raise typer.BadParameter("must be one line of printable characters", param_hint="--name")
    lifetime = None if expires is None else _lifetime(expires)
    database = _database() if new_store else _existing_database()
    with open_keys(database) as access_keys:
        key, secret = access_keys.create(project=project, role=role, name=name, expires=lifetime)
    typer.echo(f"Created {key.id} in {database}.", err=True)
    typer.echo(secret)


@keys.command("list")
def list_keys() -> None:
    """List all keys: id, project, role, name and times, separated by tabs. The keys themselves are not shown."""
    with open_keys(_existing_database()) as access_keys:
        found = access_keys.list()
    typer.echo("id\tproject\trole\tname\tcreated\texpires\trevoked")
    for key in found:
        times = (key.created_at, key.expires_at or "-", key.revoked_at or "-")
        typer.echo("\t".join((key.id, key.project, key.role, key.name or "-", *times)))


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as the list shows it.")],
) -> None:
    """Revoke a key, with immediate effect."""
    with open_keys(_existing_database()) as access_keys:
        access_keys.revoke(key_id)


def _database() -> Path:
    """Return the file of the session store, which need not exist."""
    database = load_settings().database
    if database is None:
        fail("The platform at BACKEND_URL issues its own tokens; keys belong to the embedded backend.", status=2)
    return database


def _existing_database() -> Path:
    database = _database()
    if not database.exists():
        fail(
            f"There is no session store {database}. Start the server first, or set DATA_DIR or BACKEND_URL to what the"
            " server uses; `keys create --new-store` creates one.",
            status=1,
        )
    return database


def _lifetime(text: str) -> datetime.timedelta:
    from app.settings import parse_duration

    try:
        lifetime = datetime.timedelta(seconds=parse_duration(text))
    except ValueError as error:
        raise typer.BadParameter("must be a duration such as 12h or 30d", param_hint="--expires") from error
    if lifetime > _MAX_LIFETIME:
        raise typer.BadParameter(f"must be at most {_MAX_LIFETIME.days}d", param_hint="--expires")
    return lifetime
