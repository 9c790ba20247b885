"""`workers`: the workers that share a PostgreSQL database."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.models.agents import AgentKind, AgentSummary
from app.store import workers
from app.store.open import open_transactions
from app.store.tables import WORKERS
from app.store.workers import STALE_SECONDS, WorkerAgent, WorkerOffer, WorkerRow
from tests.support.api import Api
from tests.support.command import invoke
from tests.support.deadline import eventually
from tests.support.stage import EmbeddedStage
from tests.support.store import SECRETS_KEY, postgresql_only, store_url

HEAD = ["id", "state", "last heartbeat", "sessions", "workspaces", "disk", "address", "agents"]


class TestWithoutWorkers:
    @pytest.mark.parametrize(
        ("backend", "named"), [("sqlite:///{}/ambient.db", "SQLite"), ("http://backend:8080", "platform")]
    )
    def test_where_there_can_be_none_one_line_says_so(self, tmp_path: Path, backend: str, named: str) -> None:
        done = invoke(tmp_path, "workers", BACKEND_URL=backend.format(tmp_path))

        assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        assert named in done.stderr
        assert "BACKEND_URL" in done.stderr
        assert list(tmp_path.iterdir()) == []

    def test_a_database_that_cannot_be_reached_is_one_line(self, tmp_path: Path) -> None:
        store = f"postgresql://ambient:hidden@/ambient?host={tmp_path}"
        done = invoke(tmp_path, "workers", BACKEND_URL=store, SECRETS_KEY=SECRETS_KEY)

        assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
        assert "hidden" not in done.stderr


@postgresql_only
class TestOfDatabase:
    @pytest.fixture
    def store(self, tmp_path: Path) -> str:
        """A database with a worker in each state."""
        store = store_url(tmp_path / "ambient.db")
        summaries = [
            AgentSummary(name="demo", kind=AgentKind.DEMO, default=True, available=True),
            AgentSummary(name="absent", kind=AgentKind.ACP, default=False, available=False),
        ]
        offer = WorkerOffer(agents=[WorkerAgent(summary=each) for each in summaries])
        with open_transactions(store) as transaction, transaction() as connection:
            for name in ("lost", "stopped", "alive"):
                row = WorkerRow(name, f"disk-of-{name}", f"http://127.0.0.1/{name}", "a-secret-token", offer)
                workers.beat(connection, row)
            workers.end(connection, "stopped")
            silent = WORKERS.update().where(WORKERS.c.name == "lost")
            connection.execute(silent.values(seen_at=WORKERS.c.seen_at - round(STALE_SECONDS * 1000)))
        return store

    def test_each_has_its_state_and_those_alive_come_first(self, tmp_path: Path, store: str) -> None:
        done = invoke(tmp_path, "workers", BACKEND_URL=store, SECRETS_KEY=SECRETS_KEY)

        head, alive, *others = (line.split("\t") for line in done.stdout.splitlines())
        assert (done.exit_code, head) == (0, HEAD)
        assert alive[:2] + alive[3:] == ["alive", "alive", "0", "0", "disk-of-alive", "http://127.0.0.1/alive", "demo"]
        states = {line[0]: (line[1], line[6]) for line in others}
        assert states == {"lost": ("lost", "http://127.0.0.1/lost"), "stopped": ("stopped", "-")}
        assert "a-secret-token" not in done.output

    def test_what_a_worker_owns_is_listed(self, tmp_path: Path, embedded: EmbeddedStage, embedded_api: Api) -> None:
        def owners() -> list[dict[str, Any]]:
            done = invoke(tmp_path, "workers", "--json", BACKEND_URL=embedded.store, SECRETS_KEY=SECRETS_KEY)
            found = json.loads(done.stdout)["workers"]
            return [worker for worker in found if session_id in worker["sessions"]]

        session_id = embedded_api.create_session(task="slow 3000").ok()["id"]
        [worker] = eventually(owners)
        assert worker["state"] == "alive"
        assert worker["workspaces"] >= len(worker["sessions"])
        assert worker["started_at"] <= worker["last_heartbeat"]
        assert "demo" in worker["agents"]
        assert embedded_api.delete_session(session_id).status == 204
        eventually(lambda: not owners())
