"""An access key takes along the responses that it holds open: event streams and long polls."""

import asyncio
from threading import Timer

import pytest
from sqlalchemy import update

from app.clock import now_ms
from app.errors import StorageUnavailable
from app.models.caller import Role
from app.server import streaming
from app.store.keys import AccessKeys
from app.store.tables import ACCESS_KEYS
from tests.support.api import Api, unique_project
from tests.support.asgi import request_context
from tests.support.stage import EmbeddedStage


@pytest.fixture(autouse=True)
def heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "HEARTBEAT_SECONDS", 0.05)


class Key:
    """An access key that a test revokes or lets expire."""

    def __init__(self, stage: EmbeddedStage, project: str) -> None:
        self._store = stage.store
        with AccessKeys.open(self._store) as keys:
            self.key, secret = keys.create(project=project, role=Role.VIEW)
        self.api = Api(stage.url, stage.contract, token=secret, project=project)

    def end(self, how: str) -> None:
        with AccessKeys.open(self._store) as keys:
            if how == "revoked":
                keys.revoke(self.key.id)
                return
            with keys._transaction() as connection:
                connection.execute(
                    update(ACCESS_KEYS).where(ACCESS_KEYS.c.id == self.key.id).values(expires_at=now_ms())
                )


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_a_stream_ends_with_its_key(embedded: EmbeddedStage, how: str) -> None:
    project = unique_project()
    session_id = embedded.session(embedded.api(project), "running")
    key = Key(embedded, project)
    with key.api.stream(session_id) as stream:
        frames = iter(stream)
        next(frames)
        key.end(how)
        list(frames)
        assert stream.comments[-1] == b"the token is no longer valid"
    assert key.api.get_session(session_id).status == 401


def test_a_long_poll_ends_with_its_key(embedded: EmbeddedStage) -> None:
    project = unique_project()
    owner = embedded.api(project)
    session_id = embedded.session(owner, "running")
    run_id = embedded.begin_run(owner, session_id)
    key = Key(embedded, project)
    revoking = Timer(0.2, key.end, ["revoked"])
    revoking.start()
    assert key.api.call("get_run", session_id, run_id, query={"wait": 60}).status == 401
    revoking.join()


async def test_a_backend_that_cannot_check_a_token_ends_nothing() -> None:
    checks = asyncio.Semaphore(0)

    async def authorize() -> None:
        checks.release()
        raise StorageUnavailable

    context = request_context()
    context.authorize_again = authorize
    waiting = asyncio.ensure_future(streaming.token_end(context))
    for _ in range(3):
        await checks.acquire()
    assert not waiting.done()
    await streaming.cancel(waiting)
