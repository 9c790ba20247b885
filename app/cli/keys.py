"""`keys`: create, list and revoke access keys of the embedded backend, also while its server is running."""

import datetime
import re
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.common import show_help
from app.cli.startup import existing_store, load_settings, open_keys, session_store
from app.models.caller import Role

if TYPE_CHECKING:
    from app.store.keys import Key

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
        str | None, typer.Option(help="How long it is valid, such as 12h or 30d, or never; default: KEY_LIFETIME.")
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
    lifetime = _lifetime(expires)
    from app.store.open import shown_url

    store = session_store(load_settings()) if new_store else existing_store(load_settings())
    with open_keys(store) as access_keys:
        key, secret = access_keys.create(project=project, role=role, name=name, expires=lifetime)
    note("create_key", key)
    typer.echo(f"Created {key.id} in {shown_url(store)}.", err=True)
    typer.echo(secret)


@keys.command("list")
def list_keys() -> None:
    """List all keys: id, project, role, name and times, separated by tabs. The keys themselves are not shown."""
    with open_keys(existing_store(load_settings())) as access_keys:
        found = access_keys.list()
    typer.echo("id\tproject\trole\tname\tcreated\texpires\trevoked\tlast used")
    for key in found:
        times = (key.created_at, key.expires_at or "-", key.revoked_at or "-", key.last_used_at or "-")
        typer.echo("\t".join((key.id, key.project, key.role, key.name or "-", *times)))


@keys.command("rotate")
def rotate_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as the list shows it.")],
    overlap: Annotated[str, typer.Option(help="How long the old key stays valid, such as 1h.")] = "24h",
    expires: Annotated[
        str | None, typer.Option(help="How long the new one is valid, or never; default: KEY_LIFETIME.")
    ] = None,
) -> None:
    """Create a key in place of another one, with its project, role and name, and print it, this once."""
    lifetime, overlapping = _lifetime(expires), _duration(overlap, "--overlap")
    with open_keys(existing_store(load_settings())) as access_keys:
        key, secret = access_keys.replace(key_id, overlap=overlapping, expires=lifetime)
    note("rotate_key", key)
    typer.echo(f"Created {key.id}; {key_id} expires in {overlap} at the latest.", err=True)
    typer.echo(secret)


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as the list shows it.")],
) -> None:
    """Revoke a key, with immediate effect."""
    with open_keys(existing_store(load_settings())) as access_keys:
        key = access_keys.revoke(key_id)
    note("revoke_key", key)


def note(operation: str, key: "Key") -> None:
    """Note a change of an access key in the audit log."""
    from app.observability.audit import AuditLog

    if target := load_settings().audit_log:
        AuditLog(target).record(operation=operation, project=key.project, key=key.id, caller="command line")


def _lifetime(text: str | None) -> datetime.timedelta | None:
    """Return how long a new key is valid; None for ever."""
    if text is None:
        seconds = load_settings().key_lifetime
        return None if seconds is None else datetime.timedelta(seconds=seconds)
    return None if text == "never" else _duration(text, "--expires")


def _duration(text: str, option: str) -> datetime.timedelta:
    from app.setting_types import parse_duration

    try:
        duration = datetime.timedelta(seconds=parse_duration(text))
    except ValueError as error:
        raise typer.BadParameter("must be a duration such as 12h or 30d", param_hint=option) from error
    if duration > _MAX_LIFETIME:
        raise typer.BadParameter(f"must be at most {_MAX_LIFETIME.days}d", param_hint=option)
    return duration
