"""Fixtures: three servers, the document's own check in front of one of them, and clients."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import pytest
import requests

from app import spec
from app.factory import create_app
from app.models.caller import Role
from app.store.keys import AccessKeys
from tests.clients.generated import Client
from tests.support.deadline import eventually
from tests.support.later import LaterVersion
from tests.support.server import ROOT, Background, free_port, serving
from tests.support.stage import settings

PRISM = Path(__file__).parent / "prism" / "node_modules" / ".bin" / "prism"


@dataclass(frozen=True)
class Server:
    """The address of an API with a key of the role admin."""

    address: str
    key: str


Serve = Callable[..., AbstractContextManager[Server]]
Build = Callable[[Client], Client]


@pytest.fixture(scope="session")
def serve(loop: Background, tmp_path_factory: pytest.TempPathFactory) -> Serve:
    """Serve the embedded backend with the agent `demo`; `later` as a later version of v1 may."""

    @contextmanager
    def serve_(*, later: bool = False) -> Iterator[Server]:
        chosen = settings(data_dir=tmp_path_factory.mktemp("server"))
        assert chosen.store is not None
        app = create_app(chosen)
        with serving(LaterVersion(app) if later else app, loop) as url:
            with AccessKeys.open(chosen.store) as keys:
                _, key = keys.create(project="demo", role=Role.ADMIN, name="story", expires=None)
            yield Server(f"{url}/v1", key)

    return serve_


@pytest.fixture(scope="session")
def server(serve: Serve) -> Iterator[Server]:
    with serve() as server:
        yield server


@pytest.fixture(scope="session")
def later_server(serve: Serve) -> Iterator[Server]:
    with serve(later=True) as server:
        yield server


@pytest.fixture(scope="session")
def checked_server(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server behind Prism, which answers with an error of its own to what is not as the document says."""
    directory = tmp_path_factory.mktemp("prism")
    document, log = directory / "openapi.yaml", directory / "log"
    document.write_text(spec.as_yaml(spec.published(spec.load())), encoding="utf-8")
    port = free_port()
    node = ROOT / ".venv" / "bin" / "node"
    command: list[str | Path] = [node, PRISM, "proxy", document, server.address, "--errors", f"--port={port}"]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True) as process,  # noqa: S603 - ours
    ):
        checked = Server(f"http://127.0.0.1:{port}", server.key)

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return requests.get(f"{checked.address}/whoami", timeout=10).status_code == HTTPStatus.UNAUTHORIZED
            except requests.ConnectionError:
                return False

        try:
            eventually(answers)
            yield checked
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # node is a Python program that starts the real one


@pytest.fixture(scope="session")
def built() -> Build:
    """Return a client after it has been generated and compiled, which is done once for all its stories."""
    done: set[str] = set()

    def build(client: Client) -> Client:
        if client.directory not in done:
            client.build()
            done.add(client.directory)
        return client

    return build
