"""Fixtures: stock Connexion and the compiled contract, side by side."""

import pytest

from tests.support.server import Background
from tests.support.stock import Pair


@pytest.fixture(scope="session")
def servers(loop: Background, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(loop, tmp_path_factory.mktemp("pair"))


@pytest.fixture
def pair(servers: Pair) -> Pair:
    """Stock Connexion and the compiled contract, which no request has reached yet."""
    servers.backend.calls.clear()
    return servers
