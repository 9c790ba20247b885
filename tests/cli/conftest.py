"""Commands of the client, in this process, against the running server of all tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tests.support.api import Api
from tests.support.command import invoke

Client = Callable[..., Result]


@pytest.fixture
def client(embedded_api: Api, tmp_path: Path) -> Client:
    """Run a command as the caller of `embedded_api`, whose key is never shown, nor a control sequence."""
    key = embedded_api.token or ""

    def client(*arguments: str, **options: str) -> Result:
        done = invoke(tmp_path, *arguments, **{"AMBIENT_URL": embedded_api.url, "AMBIENT_KEY": key, **options})
        assert key not in done.output
        assert "\x1b" not in done.output
        return done

    return client


@pytest.fixture
def session(embedded_api: Api) -> str:
    """The id of a running session without a run in progress. Its first message was `slow 0`."""
    return embedded_api.running_session()
