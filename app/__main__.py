"""The command line: serve (what happens without a command), keys, spec, and a client: chat, tail, sessions."""

import datetime
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from app import settings, spec
from app.cli import sessions
from app.errors import ApiError
from app.models.caller import Role
from app.observability import logs
from app.server import run

if TYPE_CHECKING:
    from app.store.keys import KeyRing

# Connexion and SQLAlchemy take a while to import: each stands in the command that needs it.

DEMO_PROJECT = "demo"
DEMO_KEY = "make run"
_PROJECT = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST = datetime.timedelta(days=36_500)


def _manual() -> str:
    lines = [f"{name}={standard}\n    {form}" for name, standard, form, _ in settings.reference()]
    return "\n".join(["\b", "Settings, environment variables all:", *lines])


_plain: dict[str, Any] = {"add_completion": False, "rich_markup_mode": None, "pretty_exceptions_enable": False}
main = typer.Typer(name="ambient-public-api", help="One REST API for agentic sessions.", epilog=_manual(), **_plain)
keys = typer.Typer(help="Access keys of the embedded backend.", no_args_is_help=True, **_plain)
main.add_typer(keys, name="keys")
main.add_typer(sessions.sessions, name="sessions")
main.command("chat")(sessions.chat)
main.command("tail")(sessions.tail)


class SpecFormat(StrEnum):
    """How the document is printed."""

    YAML = "yaml"
    JSON = "json"


@main.callback(invoke_without_command=True)
def default(context: typer.Context) -> None:
    """Serve the API, or do what the command says."""
    if context.invoked_subcommand is None:
        serve(demo_key=False)


@main.command()
def serve(
    *,
    demo_key: Annotated[
        bool, typer.Option("--demo-key", help="Make a key for the project demo and print a curl line that uses it.")
    ] = False,
) -> None:
    """Serve the API until SIGTERM."""
    chosen = _settings()
    warnings.filterwarnings("ignore", "Using `httpx` with")  # Connexion imports Starlette's test client
    from app.factory import create_app  # noqa: PLC0415 - this command's alone

    logs.configure(chosen.log_level)
    # Port and store come first: a second start must not revoke the key of the server that runs.
    try:
        sockets = run.listen(chosen.host, chosen.port)
    except run.ListenError as error:
        _fail(str(error), status=1)
    app = create_app(chosen)
    if chosen.database is not None:
        _ensure_unlocked(chosen.database)
        with _key_ring(chosen.database) as ring:
            if demo_key:
                _, secret = ring.replace(project=DEMO_PROJECT, role=Role.ADMIN, name=DEMO_KEY)
                url = _local_url(chosen.host, sockets[0].getsockname()[1])
                typer.echo(f'curl -H "Authorization: Bearer {secret}" {url}/v1/sessions')
    run.serve(app, sockets, log_level=chosen.log_level)


@keys.command("create")
def create_key(
    project: Annotated[str, typer.Option(help="The one project that the key is for.")],
    role: Annotated[Role, typer.Option(help="view reads, edit also creates and controls, admin also deletes.")],
    name: Annotated[str, typer.Option(help="What the list shows.")] = "",
    expires: Annotated[
        str | None, typer.Option(help="How long it is valid, such as 12h or 30d; for ever if not given.")
    ] = None,
) -> None:
    """Make a key and print it: one line, shown this once."""
    if not _PROJECT.fullmatch(project):
        raise typer.BadParameter(
            "must be 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends", param_hint="--project"
        )
    if not name.isprintable():
        raise typer.BadParameter("must be one line of printable characters", param_hint="--name")
    lifetime = None if expires is None else _lifetime(expires)
    database = _store()
    if not database.exists():
        typer.echo(f"There was no session store {database}: it is a new one.", err=True)
    with _key_ring(database) as ring:
        _, secret = ring.create(project=project, role=role, name=name, expires=lifetime)
    typer.echo(secret)


@keys.command("list")
def list_keys() -> None:
    """List all keys, without the keys themselves: id, project, role, name and times, separated by tabs."""
    with _key_ring(_existing_store()) as ring:
        found = ring.list()
    typer.echo("id\tproject\trole\tname\tcreated\texpires\trevoked")
    for key in found:
        times = (key.created_at, key.expires_at or "-", key.revoked_at or "-")
        typer.echo("\t".join((key.id, key.project, key.role, key.name or "-", *times)))


@keys.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(metavar="ID", help="As the list shows it.")]) -> None:
    """Make a key useless, at once."""
    with _key_ring(_existing_store()) as ring:
        ring.revoke(key_id)


@main.command("spec")
def print_spec(
    form: Annotated[SpecFormat, typer.Option("--format", help="yaml or json.")] = SpecFormat.YAML,
) -> None:
    """Print the OpenAPI document that the server serves."""
    document = spec.load()
    typer.echo(spec.as_yaml(document) if form is SpecFormat.YAML else spec.as_json(document))


def _settings() -> settings.Settings:
    try:
        return settings.load()
    except settings.SettingsError as error:
        _fail(str(error), status=2)


def _store() -> Path:
    """The file of the session store, which need not be there."""
    database = _settings().database
    if database is None:
        _fail("keys belong to the embedded backend; with this BACKEND_URL tokens come from the platform", status=2)
    return database


def _existing_store() -> Path:
    database = _store()
    if not database.exists():
        _fail(f"there is no session store {database}", status=1)
    return database


@contextmanager
def _key_ring(database: Path) -> Iterator["KeyRing"]:
    from app.store.keys import KeyRing  # noqa: PLC0415 - this command's alone

    with _exit_on_store_error(), KeyRing.open(database) as ring:
        yield ring


def _ensure_unlocked(database: Path) -> None:
    """End with one line if another server uses the store."""
    from app.store.sqlite.lock import StoreLock  # noqa: PLC0415 - this command's alone

    with _exit_on_store_error():
        StoreLock(database).release()


@contextmanager
def _exit_on_store_error() -> Iterator[None]:
    """End with one line if the store cannot be used."""
    try:
        yield
    except ApiError as error:
        _fail(error.message, status=1)
    except OSError as error:
        _fail(f"the session store cannot be used: {error.strerror}", status=1)


def _lifetime(text: str) -> datetime.timedelta:
    try:
        lifetime = datetime.timedelta(seconds=settings.parse_duration(text))
    except ValueError as error:
        raise typer.BadParameter("must be a duration such as 12h or 30d", param_hint="--expires") from error
    if lifetime > _LONGEST:
        raise typer.BadParameter(f"must be at most {_LONGEST.days}d", param_hint="--expires")
    return lifetime


def _local_url(host: str, port: int) -> str:
    """Where this machine reaches a server that listens on `host`."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(host, host)  # noqa: S104 - looked up, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _fail(line: str, *, status: int) -> NoReturn:
    sys.stderr.write(f"{line}\n")
    raise typer.Exit(status)


if __name__ == "__main__":
    main()
