"""The ids of tests, which say to pytest-xdist what is one test and which tests belong together; and shared servers."""

import pytest
from _pytest.nodeid import NodeId

from tests.support.server import Background
from tests.support.stock import Pair


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give a test its name as id, and in a worker of pytest-xdist its group.

    Schemathesis distinguishes the tests of operations by their names only, and pytest-xdist writes the group to where
    pytest 9.2 no longer looks for an id.
    """
    if item.parent is not None:
        groups = item.iter_markers("xdist_group") if hasattr(item.config, "workerinput") else ()
        name = "@".join([item.name, *(mark.args[0] for mark in groups)])
        item._id = NodeId.parse(f"{item.parent.nodeid}::{name}")


@pytest.fixture(scope="session")
def servers(loop: Background, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(loop, tmp_path_factory.mktemp("pair"))


@pytest.fixture
def pair(servers: Pair) -> Pair:
    """Stock Connexion and the compiled contract, which no request has reached yet."""
    servers.backend.calls.clear()
    return servers
