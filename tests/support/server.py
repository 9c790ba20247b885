"""The real server: in this process on a loopback port, or as a process of its own."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import requests
import uvicorn
import uvloop
from starlette.types import ASGIApp

from app.models.caller import Role
from app.server.protocol import BoundedProtocol
from app.store.keys import AccessKeys
from tests.support.deadline import eventually
from tests.support.store import ON_POSTGRESQL, SECRETS_KEY, store_url

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
LOCALHOST = "127.0.0.1"


class Background:
    """An event loop in its own thread, for work that continues while a test waits."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Start `work` in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in the loop and return its result."""
        return self.start(work).result(timeout=60)

    def close(self) -> None:
        """Stop the loop and its thread, once what was abandoned has ended, such as agents that are being killed."""
        self.run(_end_other_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


async def _end_other_tasks() -> None:
    """Wait for all other tasks and those that they start meanwhile; cancel those that take long."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        _, late = await asyncio.wait(others, timeout=20)
        for task in late:
            task.cancel()


@contextmanager
def background() -> Iterator[Background]:
    """Yield a loop that runs during the block."""
    loop = Background()
    try:
        yield loop
    finally:
        loop.close()


@contextmanager
def serving(app: ASGIApp, loop: Background) -> Iterator[str]:
    """Serve `app` over HTTP, including its lifespan, and yield the server's URL."""
    with listening() as listener:
        config = uvicorn.Config(
            app, lifespan="on", http=BoundedProtocol, ws="none", proxy_headers=False, access_log=False, log_config=None
        )
        server = uvicorn.Server(config)
        work = loop.start(server.serve(sockets=[listener]))
        try:
            eventually(lambda: server.started or work.done())
            assert server.started, "the server did not start"
            yield f"http://{LOCALHOST}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            work.result(timeout=30)


@contextmanager
def listening() -> Iterator[socket.socket]:
    """Yield a listening socket on a free loopback port. Clients that connect wait until they are accepted."""
    with socket.create_server((LOCALHOST, 0)) as listener:
        yield listener


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with listening() as listener:
        port: int = listener.getsockname()[1]
        return port


class ServerProcess:
    """`python -m app serve`, or another command, with its data in one directory and its output in files there."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        port: int | None = None,
        launcher: Sequence[str] = (),
        **environment: str,
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://{LOCALHOST}:{self.port}"
        self.environment = environ(directory, PORT=str(self.port), **environment)
        arguments = arguments or ("serve",)
        self._stdout, self._stderr = directory / "stdout", directory / "stderr"
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [*launcher, *command(*arguments)],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    @property
    def output(self) -> str:
        """The text of standard output so far."""
        return self._stdout.read_text()

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines of standard error so far, each of which must be a JSON object."""
        lines = [json.loads(line) for line in self.errors.splitlines()]
        assert all(isinstance(line, dict) for line in lines)
        return lines

    @property
    def errors(self) -> str:
        """The text of standard error so far."""
        return self._stderr.read_text()

    def wait_until_healthy(self) -> None:
        """Wait until /health responds; fail if the process ends."""
        eventually(lambda: self._is_ok("/health"))

    def wait_until_ready(self) -> None:
        """Wait until /ready says so; fail if the process ends."""
        eventually(lambda: self._is_ok("/ready"))

    def _is_ok(self, path: str) -> bool:
        assert self._process.poll() is None, f"the server ended: {self.errors}"
        with contextlib.suppress(requests.ConnectionError, requests.Timeout):  # it listens before it serves
            return requests.get(f"{self.url}{path}", timeout=5).ok
        return False

    def terminate(self) -> None:
        """Send SIGTERM, like a service manager."""
        self._process.send_signal(signal.SIGTERM)

    def freeze(self) -> None:
        """Suspend the process; its connections stay open."""
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """Kill the process, like a crash."""
        self._process.kill()
        self._process.wait()

    def wait(self) -> int:
        """Wait for the end of the process and return its exit status."""
        return self._process.wait(timeout=30)

    def close(self) -> None:
        """Kill the process and its descendants if they still run."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def server_process(
    directory: Path,
    *arguments: str,
    port: int | None = None,
    launcher: Sequence[str] = (),
    **environment: str,
) -> Iterator[ServerProcess]:
    """Yield a healthy server process; `launcher` is a command that executes the one in its arguments."""
    process = ServerProcess(directory, *arguments, port=port, launcher=launcher, **environment)
    try:
        process.wait_until_healthy()
        yield process
    finally:
        process.close()


def run_command(directory: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run `python -m app …` to its end."""
    return subprocess.run(  # noqa: S603 - our own command
        command(*arguments),
        check=False,
        cwd=ROOT,
        env=environ(directory, **environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
    )


def create_key(directory: Path, project: str = "demo", role: Role = Role.ADMIN) -> str:
    """Return a new key of the store that commands and servers use in `directory`; the store need not exist."""
    with AccessKeys.open(server_store(directory)) as keys:
        _, secret = keys.create(project=project, role=role)
    return secret


def command(*arguments: str) -> list[str]:
    """Return a command line of the program, with this interpreter."""
    return [sys.executable, "-m", "app", *arguments]


def environ(directory: Path, **environment: str) -> dict[str, str]:
    """Return an environment without the variables of the tests."""
    variables = {"PATH": os.environ["PATH"], "HOME": str(directory), "DATA_DIR": str(directory / "data")}
    if ON_POSTGRESQL:
        variables["SECRETS_KEY"] = SECRETS_KEY
        if "BACKEND_URL" not in environment:
            variables["BACKEND_URL"] = server_store(directory)
    return {**variables, **environment}


def server_store(directory: Path) -> str:
    """Return the URL of the store that commands and servers use in `directory`."""
    return store_url(directory / "data" / "ambient.db")
