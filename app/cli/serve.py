"""`serve`: the server in the foreground, and the first steps of somebody who has just started it."""

import contextlib
import datetime
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.options import DEFAULT_URL
from app.cli.program import program
from app.cli.startup import exit_on_store_error, fail, load_settings, open_keys
from app.models.caller import Role

DEMO_PROJECT = "demo"
DEMO_KEY = "make run"
DEMO_KEY_OVERLAP = datetime.timedelta(hours=24)
"""How long the key of an earlier start stays valid, so that open tabs and exported variables go on working."""


class ServeCommand(typer.core.TyperCommand):
    """The command with a list of all settings below its options."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - Click's signature
        """Write default, meaning and accepted form of every setting."""
        from app import settings

        with formatter.section("Settings (environment variables)"):
            for setting in settings.reference():
                formatter.write_text(f"{setting.name}={setting.default}")
                with formatter.indentation():
                    formatter.write_text(setting.description)
                    formatter.write_text(f"Accepts {setting.form}.")


def serve(
    *,
    demo_key: Annotated[
        bool, typer.Option("--demo-key", help="Create a key for the project demo, and print what to do with it.")
    ] = False,
) -> None:
    """Serve the API until SIGTERM or Ctrl-C."""
    settings = load_settings()
    warnings.filterwarnings("ignore", "Using `httpx` with")  # Connexion imports Starlette's test client
    from app.factory import create_app
    from app.observability import logs
    from app.observability.tracing import TracingNotInstalled
    from app.server import run

    logs.configure(settings.log_level)
    # The port and the store come first: a second start must not change the keys of the server that is running.
    try:
        sockets = run.listen(settings.host, settings.port)
    except run.ListenError as error:
        fail(str(error), status=1)
    with contextlib.ExitStack() as stack:
        for bound in sockets:
            stack.enter_context(bound)
        try:
            app = create_app(settings)
        except TracingNotInstalled as error:
            fail(str(error), status=2)
        if settings.database is not None:
            # Opened in any case, so that a store that cannot be used ends the start with one line.
            _ensure_unlocked(settings.database)
            with open_keys(settings.database) as keys:
                if demo_key:
                    _, key = keys.rotate(project=DEMO_PROJECT, role=Role.ADMIN, name=DEMO_KEY, overlap=DEMO_KEY_OVERLAP)
                    typer.echo(first_steps(settings.host, sockets[0].getsockname()[1], key))
        run.serve(app, sockets, log_level=settings.log_level)


def first_steps(host: str, port: int, key: str) -> str:
    """Return what to do with a new key, as lines that work when they are pasted."""
    url = _local_url(host, port)
    where = "" if url == DEFAULT_URL else f"AMBIENT_URL={url} "
    return "\n".join(
        [
            f"Console: {url}/#key={key}",
            f'curl -H "Authorization: Bearer {key}" {url}/v1/sessions',
            f"export {where}AMBIENT_KEY={key}",
            f"{program()} chat",
        ]
    )


def _ensure_unlocked(database: Path) -> None:
    """End the command if another server uses the store."""
    from app.store.sqlite.lock import StoreLock

    with exit_on_store_error():
        StoreLock(database).release()


def _local_url(host: str, port: int) -> str:
    """Return the URL by which this machine reaches a server that listens on `host`."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(host, host)  # noqa: S104 - looked up, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
