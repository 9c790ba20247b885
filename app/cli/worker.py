"""`worker`: runs agents for API servers that share its store."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from app.cli.startup import exit_on_store_error, fail, load_settings

if TYPE_CHECKING:
    from app.settings import Settings


def work() -> None:
    """Run agents for servers that are started with --no-worker, until SIGTERM or Ctrl-C.

    The worker then waits for its active runs, as long as WORKER_DRAIN says; a second signal ends that.
    """
    settings = load_settings()
    from app.engine.cluster.disk import DiskError
    from app.engine.session_secrets import SecretsError
    from app.observability import logs
    from app.sandbox.process_tree import SandboxError
    from app.setting_types import SettingsError

    logs.configure(settings.log_level)
    if settings.store is None:
        fail("The platform at BACKEND_URL runs agents itself; workers belong to the embedded backend.", status=2)
    try:
        with exit_on_store_error():
            asyncio.run(_work(settings, settings.store))
    except (SettingsError, SecretsError) as error:
        fail(str(error), status=2)
    except DiskError as error:
        fail(str(error), status=1)
    except SandboxError as error:
        fail(f"AGENT_SANDBOX is bwrap, but {error}.", status=2)


async def _work(settings: "Settings", store: str) -> None:
    from app.factory import open_worker

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_worker(settings, store) as worker:
        await _first(stop.wait(), worker.ended())
        stop.clear()
        await _first(stop.wait(), worker.drain())


async def _first(*ends: Coroutine[Any, Any, Any]) -> None:
    tasks = [asyncio.create_task(end) for end in ends]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
