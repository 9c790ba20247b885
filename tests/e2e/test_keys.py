"""Access keys by the command line, beside a server that runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.api import Api, Contract, served_contract
from tests.support.deadline import eventually
from tests.support.server import ServerProcess, run_command, server_process

pytestmark = pytest.mark.xdist_group("keys")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[ServerProcess]:
    with server_process(directory) as server:
        yield server


@pytest.fixture(scope="module")
def contract(server: ServerProcess) -> Contract:
    return served_contract(server.url)


def create_key(directory: Path, *options: str, project: str = "demo", role: str = "view") -> str:
    result = run_command(directory, "keys", "create", "--project", project, "--role", role, *options)
    assert (result.returncode, result.stderr) == (0, "")
    [key] = result.stdout.splitlines()
    assert key.startswith("ak_")
    return key


def key_id(directory: Path, name: str) -> str:
    listed = run_command(directory, "keys", "list").stdout.splitlines()
    [line] = [line for line in listed if name in line.split("\t")]
    return line.split("\t")[0]


@contextmanager
def caller(server: ServerProcess, contract: Contract, key: str, project: str | None = None) -> Iterator[Api]:
    with Api(server.url, contract, token=key, project=project) as api:
        yield api


def test_a_role_permits_what_it_says(directory: Path, server: ServerProcess, contract: Contract) -> None:
    keys = {role: create_key(directory, role=role, project="roles") for role in ("view", "edit", "admin")}
    with caller(server, contract, keys["view"]) as api:
        assert api.list_sessions().status == 200
        assert api.create_session(task="slow 0").error == (403, "forbidden")
    with caller(server, contract, keys["edit"]) as api:
        session_id = api.create_session(task="slow 0").ok()["id"]
        assert api.delete_session(session_id).error == (403, "forbidden")
    with caller(server, contract, keys["admin"]) as api:
        assert api.delete_session(session_id).status == 204


def test_a_key_is_bound_to_its_project(directory: Path, server: ServerProcess, contract: Contract) -> None:
    key = create_key(directory, project="mine")
    with caller(server, contract, key, "mine") as api:
        assert api.list_sessions().status == 200
    with caller(server, contract, key, "theirs") as api:
        assert api.list_sessions().error == (403, "forbidden")


def test_a_revoked_key_is_useless_at_once(directory: Path, server: ServerProcess, contract: Contract) -> None:
    key = create_key(directory, "--name", "to-revoke")
    with caller(server, contract, key) as api:
        assert api.list_sessions().status == 200
        revoked = run_command(directory, "keys", "revoke", key_id(directory, "to-revoke"))
        assert revoked.returncode == 0
        assert api.list_sessions().error == (401, "unauthorized")


def test_an_unknown_key_cannot_be_revoked(directory: Path, server: ServerProcess) -> None:
    assert server.url
    result = run_command(directory, "keys", "revoke", "key-of-nobody")
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)


def test_a_key_expires(directory: Path, server: ServerProcess, contract: Contract) -> None:
    key = create_key(directory, "--expires", "1ms")
    with caller(server, contract, key) as api:
        assert eventually(api.list_sessions, lambda answer: answer.status == 401).error == (401, "unauthorized")
    with caller(server, contract, create_key(directory, "--expires", "30d")) as api:
        assert api.list_sessions().status == 200


def test_the_list_shows_all_but_the_keys(directory: Path, server: ServerProcess) -> None:
    assert server.url
    key = create_key(directory, "--name", "listed", "--expires", "30d", project="shown", role="edit")
    listed = run_command(directory, "keys", "list")
    [line] = [line for line in listed.stdout.splitlines() if "\tlisted\t" in line]
    assert line.split("\t")[1:4] == ["shown", "edit", "listed"]
    assert key not in listed.stdout
    assert key.removeprefix("ak_") not in listed.stdout


def test_the_store_holds_no_key(directory: Path, server: ServerProcess) -> None:
    assert server.url
    key = create_key(directory)
    stored = b"".join(path.read_bytes() for path in (directory / "data").glob("ambient.db*"))
    assert stored
    assert key.encode() not in stored
    assert key.removeprefix("ak_").encode() not in stored
