"""The measured servers, each in its own process on the server's core, and the platform behind some of them."""

import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import requests

from tests.bench import stub
from tests.bench.limits import UNLIMITED
from tests.bench.machine import cores, pinned
from tests.support.deadline import eventually
from tests.support.server import LOCALHOST, ROOT, ServerProcess, free_port, run_command, server_process

OURS = "this server"
QUIET = {"LOG_LEVEL": "error"}
PEERS = {
    "canned": OURS,
    "fastapi": "FastAPI by hand",
    "asyncapp": "stock Connexion, AsyncApp",
    "flaskapp": "stock Connexion, FlaskApp",
}


class Subject(NamedTuple):
    """A server under test, with the headers of an authorized client."""

    name: str
    url: str
    pid: int
    headers: Mapping[str, str]

    def create(self, task: str) -> str:
        """Create a session and return its id once its first run has begun."""
        response = requests.post(f"{self.url}/v1/sessions", json={"task": task}, headers=self.headers, timeout=10)
        session = response.json()["id"]
        eventually(lambda: self.runs(session), lambda statuses: statuses and "queued" not in statuses)
        return str(session)

    def runs(self, session: str) -> list[str]:
        """Return the statuses of a session's runs."""
        found = requests.get(f"{self.url}/v1/sessions/{session}/runs", headers=self.headers, timeout=10)
        return [run["status"] for run in found.json()["runs"]]

    def delete(self, session: str) -> None:
        """Delete a session."""
        requests.delete(f"{self.url}/v1/sessions/{session}", headers=self.headers, timeout=60).raise_for_status()


@contextmanager
def platform(**exports: Path) -> Iterator[Subject]:
    """Start a canned platform on its own core; a session has the export of the same name."""
    port = free_port()
    named = [f"{name}={file}" for name, file in exports.items()]
    with _module("stub", str(port), *named, port=port, core=cores().platform) as pid:
        yield Subject("the canned platform itself", f"http://{LOCALHOST}:{port}", pid, _platform_headers())


@contextmanager
def ambient(directory: Path, upstream: Subject, **environment: str) -> Iterator[Subject]:
    """Start the server in front of a platform."""
    with _server(directory, BACKEND_URL=upstream.url, **environment) as server:
        yield Subject(OURS, server.url, server.pid, _platform_headers())


@contextmanager
def embedded(directory: Path, **environment: str) -> Iterator[Subject]:
    """Start the server with its own store, `data/ambient.db` in the directory."""
    with _server(directory, **environment) as server:
        created = run_command(directory, "keys", "create", "--project", "demo", "--role", "admin")
        yield Subject(OURS, server.url, server.pid, {"Authorization": f"Bearer {created.stdout.strip()}"})


@contextmanager
def peer(kind: str, upstream: Subject | None = None) -> Iterator[Subject]:
    """Start one of PEERS; without a platform it responds from memory."""
    port = free_port()
    with _module(
        "peers", kind, str(port), *([upstream.url] if upstream else []), port=port, core=cores().server
    ) as pid:
        yield Subject(PEERS[kind], f"http://{LOCALHOST}:{port}", pid, _platform_headers())


@contextmanager
def _server(directory: Path, **environment: str) -> Iterator[ServerProcess]:
    with ExitStack() as stack:
        with pinned(cores().server):
            server = stack.enter_context(server_process(directory, port=free_port(), **UNLIMITED, **environment))
        yield server


def _platform_headers() -> dict[str, str]:
    return {"Authorization": "Bearer token-of-the-benchmark", "X-Ambient-Project": stub.PROJECT}


@contextmanager
def _module(name: str, *arguments: str, port: int, core: int) -> Iterator[int]:
    command = [sys.executable, "-m", f"tests.bench.{name}", *arguments]
    with pinned(core):
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command

    def listens() -> bool:
        assert process.poll() is None, f"{name} ended"
        with suppress(ConnectionRefusedError), socket.create_connection((LOCALHOST, port)):
            return True
        return False

    try:
        eventually(listens)
        yield process.pid
    finally:
        process.kill()
        process.wait()
