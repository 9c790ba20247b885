"""A store that is full or locked for a while: clients get an error, and nothing that was accepted is lost."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection, text

from app.agent_definition import DEMO
from app.agents import demo
from app.agents.demo import DemoAgent
from app.agents.registry import AgentRegistry
from app.backends.embedded.backend import EmbeddedBackend
from app.engine.config import EngineConfig
from app.factory import create_app
from app.models.caller import Role
from app.store.keys import AccessKeys
from tests.support.api import Api, served_contract
from tests.support.scripted import SECRETS
from tests.support.server import Background, serving
from tests.support.stage import settings
from tests.support.store import sqlite_only

pytestmark = sqlite_only
LARGE = "x" * 100_000
FINAL = ("completed", "error", "interrupted")


class FaultyStore(NamedTuple):
    """A server whose store can be made to fail."""

    api: Api
    backend: EmbeddedBackend
    loop: Background
    database: Path

    def limit(self, pages: int) -> None:
        """Let the store grow by so many pages and no more."""

        def limit(connection: Connection) -> None:
            present = connection.execute(text("PRAGMA page_count")).scalar_one()
            connection.execute(text(f"PRAGMA max_page_count = {present + pages}"))

        self.loop.run(self.backend._database.write_until_stored(limit))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Another process holds the lock for writers."""
        with contextlib.closing(sqlite3.connect(self.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    def running_session(self) -> str:
        session_id: str = self.api.create_session(task="slow 0").ok()["id"]
        self.api.wait_for_status(session_id, "running")
        return session_id

    def busy_session(self) -> tuple[str, str]:
        """Return the ids of a session and of its active run."""
        session_id = self.running_session()
        run_id = self.api.send_message(session_id, "slow 3000").ok()["run_id"]
        self.api.wait_for_run(session_id, run_id, "running")
        return session_id, run_id

    def ends(self, session_id: str, run_id: str) -> list[str]:
        events: list[dict[str, Any]] = self.api.output(session_id, format="events", run_id=run_id).ok()["events"]
        return [event["type"] for event in events if event["type"] in {"RUN_FINISHED", "RUN_ERROR"}]


@pytest.fixture
def store(loop: Background, tmp_path: Path) -> Iterator[FaultyStore]:
    chosen = settings(data_dir=tmp_path)
    assert chosen.store is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.store.sqlite.engine.BUSY_TIMEOUT_MS", 10)
        patch.setattr("app.store.database.LAST_RETRY", 0.1)
        patch.setattr(demo, "TICK_SECONDS", 0.01)
        with AccessKeys.open(chosen.store) as keys:
            _, key = keys.create(project="demo", role=Role.ADMIN)
        agents = AgentRegistry([DEMO], lambda _definition: DemoAgent())
        backend = EmbeddedBackend(
            chosen.store, EngineConfig(directory=tmp_path, agents=agents, secrets=SECRETS, run_timeout=60)
        )
        with (
            serving(create_app(chosen, backend), loop) as url,
            Api(url, served_contract(url), token=key) as api,
        ):
            yield FaultyStore(api, backend, loop, tmp_path / "ambient.db")


def test_a_full_store_responds_with_507_and_continues_once_there_is_space(store: FaultyStore) -> None:
    session_id, active = store.busy_session()
    store.limit(pages=200)
    accepted = []
    for _ in range(100):
        response = store.api.send_message(session_id, LARGE)
        if response.status != 202:
            break
        accepted.append(response.body["run_id"])
    assert response.error == (507, "storage_full")
    assert accepted
    assert store.api.create_session(task=LARGE).error == (507, "storage_full")
    assert store.api.list_sessions().body["total"] == 1
    runs = store.api.list_runs(session_id).ok()["runs"]
    assert [run["run_id"] for run in runs[1:]] == [active, *accepted]
    store.limit(pages=100_000)
    store.api.interrupt_session(session_id).ok()
    for run_id in (active, *accepted):
        assert store.api.wait_for_run(session_id, run_id)["status"] in FINAL
        assert len(store.ends(session_id, run_id)) == 1
    store.api.say(session_id, "slow 0")


def test_a_run_ends_once_when_the_store_was_full_at_its_end(store: FaultyStore) -> None:
    session_id = store.running_session()
    run_id = store.api.send_message(session_id, "slow 100").ok()["run_id"]
    store.api.wait_for_run(session_id, run_id, "running")
    store.limit(pages=0)
    while store.api.send_message(session_id, "fill").status == 202:
        pass
    store.limit(pages=100_000)
    assert store.api.wait_for_run(session_id, run_id)["status"] == "completed"
    assert store.ends(session_id, run_id) == ["RUN_FINISHED"]
    words = [message["content"] for message in store.api.output(session_id, run_id=run_id).ok()["messages"]]
    assert words[-1] == "".join(f"tick {number} of 100\n" for number in range(1, 101))


def test_a_locked_store_responds_with_503_to_writes_and_can_still_be_read(store: FaultyStore) -> None:
    session_id, active = store.busy_session()
    waiting = store.api.send_message(session_id, "wait").ok()["run_id"]
    with store.locked():
        refused = (503, "storage_unavailable")
        response = store.api.create_session(task="x")
        assert (response.error, response.headers["Retry-After"]) == (refused, "1")
        assert store.api.send_message(session_id, "x").error == refused
        assert store.api.send_message(session_id, "x", on_busy="interrupt").error == refused
        assert store.api.cancel_run(session_id, waiting).error == refused
        assert store.api.stop_session(session_id).error == refused
        assert store.api.delete_session(session_id).error == refused
        assert store.api.get_session(session_id).ok()["status"] == "running"
        assert store.api.get_run(session_id, active).ok()["status"] == "running"
        assert store.api.output(session_id).status == 200
    assert store.api.list_sessions().body["total"] == 1
    assert len(store.api.list_runs(session_id).ok()["runs"]) == 3
    assert store.api.send_message(session_id, "x", on_busy="interrupt").status == 202
    for run_id in (active, waiting):
        store.api.wait_for_run(session_id, run_id)
        assert len(store.ends(session_id, run_id)) == 1
