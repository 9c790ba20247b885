"""A fake platform with one session, and the backend in front of it; a module may define others."""

from collections.abc import AsyncIterator, Iterator

import pytest

from app.backends.ambient.backend import AmbientBackend
from tests.support.platform import FakePlatform
from tests.support.platform_backend import connected


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with FakePlatform() as platform:
        platform.add_session("demo", "s1")
        yield platform


@pytest.fixture
async def backend(platform: FakePlatform) -> AsyncIterator[AmbientBackend]:
    async with connected(platform.url) as backend:
        yield backend
