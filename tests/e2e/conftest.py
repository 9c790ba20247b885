"""The tests of the server as a process take long: `make test-slow` runs them."""

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(pytest.mark.slow)
