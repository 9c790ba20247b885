"""Responses by idempotency key in the session store: committed with their effect or not at all, and for a day."""

from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Connection, func, select

from app.errors import IdempotencyKeyReused, NotRunning
from app.models.agents import AgentOffer
from app.models.caller import Caller, IdempotencyKey
from app.models.runs import MessageCreate
from app.models.sessions import SessionCreate, SessionStatus
from app.results import Idempotent
from app.store import agent_offers, idempotency
from app.store.dialect import insert_new
from app.store.tables import IDEMPOTENCY_KEYS
from tests.support.scripted import CALLER, Harness, open_backend
from tests.support.store import copy_store

NEW = SessionCreate(task="the task")


def keyed(key: bytes = b"key", fingerprint: bytes = b"print") -> Caller:
    return msgspec.structs.replace(CALLER, idempotency_key=IdempotencyKey(key, fingerprint))


async def stored_keys(harness: Harness) -> int:
    """Return how many keys the store holds."""
    query = select(func.count()).select_from(IDEMPOTENCY_KEYS)
    return await harness.backend._database.read(lambda connection: connection.execute(query).scalar_one())


async def test_a_crash_leaves_both_the_session_and_its_response(tmp_path: Path) -> None:
    async with open_backend(tmp_path / "a") as harness:
        first = (await harness.backend.sessions.create_session(keyed(), NEW)).value
        (tmp_path / "b").mkdir()
        copy_store(tmp_path / "a" / "store.db", tmp_path / "b" / "store.db")
    async with open_backend(tmp_path / "b") as harness:
        assert await harness.backend.sessions.create_session(keyed(), NEW) == Idempotent(first, replayed=True)
        await harness.status(first.id, SessionStatus.RUNNING)
        assert (
            await harness.backend.sessions.list_sessions(CALLER, limit=9, offset=0, search=None, status=(), label=())
        ).total == 1


async def test_a_refused_request_leaves_no_key(tmp_path: Path) -> None:
    async with open_backend(tmp_path) as harness:
        session_id = await harness.running()
        await harness.backend.sessions.stop_session(CALLER, session_id)
        with pytest.raises(NotRunning):
            await harness.backend.runs.send_message(keyed(), session_id, MessageCreate(content="hello"))
        assert await stored_keys(harness) == 0


async def test_a_row_is_new_once_and_what_an_agent_offers_now_replaces_what_it_has_offered(tmp_path: Path) -> None:
    async with open_backend(tmp_path) as harness:
        row = {"key": b"k", "fingerprint": b"f", "created_at": 1}

        def offers(connection: Connection) -> dict[str, AgentOffer]:
            assert [insert_new(connection, IDEMPOTENCY_KEYS, row) for _ in range(2)] == [True, False]
            for model in ("old", "new"):
                agent_offers.save(connection, "agent", AgentOffer([], [], model=model))
            return agent_offers.find(connection, ["agent"])

        assert await harness.backend._database.write(offers) == {"agent": AgentOffer([], [], model="new")}


async def test_a_response_is_forgotten_and_deleted_after_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000
    monkeypatch.setattr(idempotency, "now_ms", lambda: now)
    async with open_backend(tmp_path) as harness:
        first = (await harness.backend.sessions.create_session(keyed(), NEW)).value
        now += idempotency.LIFETIME_MS - 1
        with pytest.raises(IdempotencyKeyReused):
            await harness.backend.sessions.create_session(keyed(fingerprint=b"other"), NEW)
        await harness.backend.sessions.create_session(keyed(b"later"), NEW)
        assert await stored_keys(harness) == 2
        now += 1
        again = (await harness.backend.sessions.create_session(keyed(fingerprint=b"other"), NEW)).value
        assert again.id != first.id
        assert await stored_keys(harness) == 2
