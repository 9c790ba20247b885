"""What is measured, each in a process of its own on the server's core, and the platform that stands behind some."""

import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import requests

from tests.bench import stub
from tests.bench.machine import cores, pinned
from tests.support.deadline import eventually
from tests.support.server import LOCALHOST, ROOT, ServerProcess, free_port, run_command, server_process

UNLIMITED = {"RATE_LIMIT_RPS": "1000000", "RATE_LIMIT_BURST": "1000000"}
OURS = "this server"
QUIET = {"LOG_LEVEL": "error"}
PEERS = {
    "canned": OURS,
    "fastapi": "FastAPI by hand",
    "asyncapp": "stock Connexion, AsyncApp",
    "flaskapp": "stock Connexion, FlaskApp",
}


class Subject(NamedTuple):
    """A server under test, and what lets a client in."""

    name: str
    url: str
    pid: int
    headers: Mapping[str, str]

    def created(self, task: str) -> str:
        """The id of a new session whose first run is under way, or has ended."""
        answer = requests.post(f"{self.url}/v1/sessions", json={"task": task}, headers=self.headers, timeout=10)
        session = answer.json()["id"]
        eventually(lambda: self.runs(session), lambda statuses: statuses and "queued" not in statuses)
        return str(session)

    def runs(self, session: str) -> list[str]:
        """The statuses of a session's runs."""
        found = requests.get(f"{self.url}/v1/sessions/{session}/runs", headers=self.headers, timeout=10)
        return [run["status"] for run in found.json()["runs"]]

    def deleted(self, session: str) -> None:
        """Delete a session."""
        requests.delete(f"{self.url}/v1/sessions/{session}", headers=self.headers, timeout=60).raise_for_status()


@contextmanager
def platform(**exports: Path) -> Iterator[Subject]:
    """A platform of canned bytes on its own core; a session has the export of the same name."""
    port = free_port()
    named = [f"{name}={file}" for name, file in exports.items()]
    with _module("stub", str(port), *named, port=port, core=cores().platform) as pid:
        yield Subject("the canned platform itself", f"http://{LOCALHOST}:{port}", pid, _of_platform())


@contextmanager
def ambient(directory: Path, behind: Subject, **environment: str) -> Iterator[Subject]:
    """The server before a platform."""
    with _server(directory, BACKEND_URL=behind.url, **environment) as server:
        yield Subject(OURS, server.url, server.pid, _of_platform())


@contextmanager
def embedded(directory: Path, **environment: str) -> Iterator[Subject]:
    """The server with its own store, in `data/ambient.db` of the directory."""
    with _server(directory, **environment) as server:
        made = run_command(directory, "keys", "create", "--project", "demo", "--role", "admin")
        yield Subject(OURS, server.url, server.pid, {"Authorization": f"Bearer {made.stdout.strip()}"})


@contextmanager
def peer(kind: str, behind: Subject | None = None) -> Iterator[Subject]:
    """One of PEERS; without a platform it answers from memory."""
    port = free_port()
    with _module("peers", kind, str(port), *([behind.url] if behind else []), port=port, core=cores().server) as pid:
        yield Subject(PEERS[kind], f"http://{LOCALHOST}:{port}", pid, _of_platform())


@contextmanager
def _server(directory: Path, **environment: str) -> Iterator[ServerProcess]:
    with ExitStack() as stack:
        with pinned(cores().server):
            server = stack.enter_context(server_process(directory, port=free_port(), **UNLIMITED, **environment))
        yield server


def _of_platform() -> dict[str, str]:
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
