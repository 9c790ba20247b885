"""More generators make clients that compile. They have no story."""

import pytest

from tests.clients.conftest import Build
from tests.clients.generated import SWEEP, TIMEOUT, Client

pytestmark = pytest.mark.timeout(3 * TIMEOUT)


@pytest.mark.parametrize("client", SWEEP, ids=lambda client: client.directory)
def test_a_client_is_generated_and_compiles(built: Build, client: Client) -> None:
    assert built(client).path.is_dir()
