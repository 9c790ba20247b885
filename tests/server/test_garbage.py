"""The garbage of a request: objects that only the garbage collector can free make the next requests slower."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from app.factory import create_app
from tests.support.contract import AUTH, CannedBackend, Sent, call, lifespan, settings

REQUESTS = 100
JSON = ("Content-Type", "application/json")


@pytest.fixture
def collector_off() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("collector_off")
@pytest.mark.parametrize(
    "sent",
    [
        Sent("GET", "/v1/sessions/s1"),
        Sent("POST", "/v1/sessions/s1/message", (*AUTH.items(), JSON), b'{"content":"hello"}'),
    ],
    ids=["GET", "POST"],
)
async def test_a_request_leaves_nothing_to_the_garbage_collector(tmp_path: Path, sent: Sent) -> None:
    app = create_app(settings(tmp_path), CannedBackend())
    async with lifespan(app):
        assert (await call(app, sent)).status < 300
        gc.collect()
        assert min([await garbage_of_requests(app, sent) for _ in range(3)]) < REQUESTS


async def garbage_of_requests(app: ASGIApp, sent: Sent) -> int:
    """Return how many objects are garbage after REQUESTS requests. Servers of other tests may add some at times."""
    for _ in range(REQUESTS):
        await call(app, sent)
    return gc.collect()
