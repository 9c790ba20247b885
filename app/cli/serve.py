"""`serve`: the server in the foreground, and the first steps of somebody who has just started it."""

import asyncio
import contextlib
import datetime
import warnings
from typing import Annotated, Any

import typer

from app.cli.common import DEFAULT_URL, program
from app.cli.keys import note
from app.cli.startup import exit_on_store_error, fail, load_settings, open_keys
from app.models.caller import Role

DEMO_PROJECT = "demo"
DEMO_KEY = "make run"
DEMO_KEY_OVERLAP = datetime.timedelta(hours=24)
"""How long the key of an earlier start stays valid, so that open tabs and exported variables go on working."""


LOCAL_DIRECTORIES = "# To let sessions work on directories of your own, start with LOCAL_ROOTS=demo=$HOME/src"


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
    worker: Annotated[
        bool, typer.Option("--worker/--no-worker", help="Run agents here, or leave that to `worker` processes.")
    ] = True,
) -> None:
    """Serve the API until SIGTERM or Ctrl-C."""
    settings = load_settings()
    warnings.filterwarnings("ignore", "Using `httpx` with")  # Connexion imports Starlette's test client
    from app.engine.session_secrets import SecretsError
    from app.factory import create_app
    from app.observability import logs
    from app.observability.tracing import TracingNotInstalled
    from app.sandbox.process_tree import SandboxError
    from app.server import run
    from app.setting_types import SettingsError

    logs.configure(settings.log_level)
    # The port and the store come first: a second start must not change the keys of the server that is running.
    try:
        sockets = run.listen(settings.host, settings.port)
    except run.ListenError as error:
        fail(str(error), status=1)
    with contextlib.ExitStack() as stack:
        for bound in sockets:
            stack.enter_context(bound)
        if settings.store is not None:
            _ensure_unused(settings.store)
        try:
            app = create_app(settings, runs_agents=worker)
        except TracingNotInstalled as error:
            fail(str(error), status=2)
        except (SettingsError, SecretsError) as error:
            fail(str(error), status=2)
        except SandboxError as error:
            fail(f"AGENT_SANDBOX is bwrap, but {error}.", status=2)
        if settings.store is None:
            _ensure_speakable(settings.backend_url)
        else:
            # Opened in any case, so that a store that cannot be used ends the start with one line.
            with open_keys(settings.store) as keys:
                if demo_key:
                    record, key = keys.rotate(
                        project=DEMO_PROJECT, role=Role.ADMIN, name=DEMO_KEY, overlap=DEMO_KEY_OVERLAP
                    )
                    note("create_key", record)
                    typer.echo(first_steps(settings.host, sockets[0].getsockname()[1], key))
                    if DEMO_PROJECT not in settings.local_roots:
                        typer.echo(LOCAL_DIRECTORIES)
        drain = settings.worker_drain or 0
        run.serve(app, sockets, bounds=app.connections, log_level=settings.log_level, drain=drain)


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


def _ensure_speakable(url: str) -> None:
    """End the command if the platform, as far as it is up yet, has another API."""
    from app.backends.ambient.backend import find_obstacle

    if obstacle := asyncio.run(find_obstacle(url)):
        fail(obstacle, status=2)


def _ensure_unused(store: str) -> None:
    """End the command if another server uses a store that only one can use."""
    from app.store.open import ensure_unused

    with exit_on_store_error():
        ensure_unused(store)


def _local_url(host: str, port: int) -> str:
    """Return the URL by which this machine reaches a server that listens on `host`."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(host, host)  # noqa: S104 - looked up, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
