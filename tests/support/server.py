"""The real server for tests: in this process on a loopback port, and as the process that operators start."""

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

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
LOCALHOST = "127.0.0.1"


class Background:
    """An event loop in a thread of its own, for what has to go on while a test waits."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Begin to run `work` there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns there."""
        return self.start(work).result(timeout=60)

    def close(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


@contextmanager
def background() -> Iterator[Background]:
    """A loop for the time of a block."""
    loop = Background()
    try:
        yield loop
    finally:
        loop.close()


@contextmanager
def serving(app: ASGIApp, loop: Background) -> Iterator[str]:
    """Serve `app` over HTTP, its lifespan included; the URL of the server."""
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
    """A listening socket on a free loopback port; whoever connects to it waits until somebody accepts."""
    with socket.create_server((LOCALHOST, 0)) as listener:
        yield listener


def free_port() -> int:
    """A port that was free a moment ago."""
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
    def output(self) -> str:
        """What it wrote to standard output so far."""
        return self._stdout.read_text()

    @property
    def log(self) -> list[dict[str, Any]]:
        """What it wrote to standard error so far; every line has to be a JSON object."""
        lines = [json.loads(line) for line in self.errors.splitlines()]
        assert all(isinstance(line, dict) for line in lines)
        return lines

    @property
    def errors(self) -> str:
        """The text of standard error."""
        return self._stderr.read_text()

    def wait_until_healthy(self) -> None:
        """Return once /health answers; fail at once when the process ends."""
        eventually(self._healthy)

    def _healthy(self) -> bool:
        assert self._process.poll() is None, f"the server ended: {self.errors}"
        with contextlib.suppress(requests.ConnectionError, requests.Timeout):  # it listens before it is up
            return requests.get(f"{self.url}/health", timeout=5).ok
        return False

    def terminate(self) -> None:
        """Ask it to end, as a service manager does."""
        self._process.send_signal(signal.SIGTERM)

    def freeze(self) -> None:
        """Let it neither read nor answer from now on; it keeps its connections."""
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        return self._process.wait(timeout=30)

    def close(self) -> None:
        """End it and whatever it started, if it still runs."""
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
    """A healthy server process for the time of a block; `launcher` is a command that becomes the one it is given."""
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
        timeout=60,
    )


def create_key(directory: Path, project: str = "demo", role: Role = Role.ADMIN) -> str:
    """Return a new key of the store that commands and servers use in `directory`; the store need not exist."""
    with AccessKeys.open(directory / "data" / "ambient.db") as keys:
        _, secret = keys.create(project=project, role=role)
    return secret


def command(*arguments: str) -> list[str]:
    """The command line of the server, with this interpreter."""
    return [sys.executable, "-m", "app", *arguments]


def environ(directory: Path, **environment: str) -> dict[str, str]:
    """An environment that holds nothing of the tests' own."""
    return {"PATH": os.environ["PATH"], "HOME": str(directory), "DATA_DIR": str(directory / "data"), **environment}
