"""Commands of the client, in this process, against the running server of all tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from tests.support.api import Api
from tests.support.command import invoke
from tests.support.documented import Documented

Client = Callable[..., Result]


@pytest.fixture
def documented(embedded_api: Api) -> Iterator[Documented]:
    """The document, with which all requests of the client and the use of their responses are compared."""
    documented = Documented(embedded_api.url, embedded_api.contract)
    with documented.client("ambient-public-api-cli"):
        yield documented


@pytest.fixture
def client(embedded_api: Api, documented: Documented, tmp_path: Path) -> Client:  # noqa: ARG001 - it checks
    """Run a command as the caller of `embedded_api`."""
    return client_of(embedded_api, tmp_path)


@pytest.fixture
def local_client(local_api: Api, tmp_path: Path) -> Client:
    """Run a command as the caller of `local_api`."""
    return client_of(local_api, tmp_path)


def client_of(api: Api, directory: Path) -> Client:
    """Return what runs a command as a caller, whose key is never shown, nor a control sequence but in raw bytes."""
    key = api.token or ""

    def client(*arguments: str, stdin: str | bytes = "", **environment: str) -> Result:
        own = {"AMBIENT_URL": api.url, "AMBIENT_KEY": key}
        done = invoke(directory, *arguments, stdin=stdin, **{**own, **environment})
        assert key.encode() not in done.output_bytes
        is_raw = arguments[:2] in {("sessions", "diff"), ("sessions", "get"), ("sessions", "archive")}
        assert b"\x1b" not in (done.stderr_bytes if is_raw else done.output_bytes)
        return done

    return client


@pytest.fixture
def session(embedded_api: Api) -> str:
    """The id of a running session without a run in progress. Its first message was `slow 0`."""
    return embedded_api.running_session()
