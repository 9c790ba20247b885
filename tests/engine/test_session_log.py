"""A session's text log in the store: bounded, without secrets, and never a reason to fail."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from app.agents.port import Turn
from app.engine.session_log import MAX_LINE, SessionLog
from app.errors import StorageUnavailable
from app.store import session_log, sessions
from app.store.database import Database
from app.store.tables import SESSION_LOG
from tests.support.scripted import CALLER, FINISHED, STARTED, Harness, open_backend, until


def written(log: list[str]) -> list[str]:
    return [line.partition(": ")[2] for line in log]


def test_lines_have_time_and_source() -> None:
    lines: list[str] = []
    log = SessionLog(lines.extend)
    log.write("git", "one\n\n  two\r\nthree")
    log.write("agent", "four\x1b[31m\x07\tü\ud800")
    assert written(lines) == ["one", "  two", "three", "four[31m\tü"]
    assert [line.split()[1] for line in lines[-2:]] == ["git:", "agent:"]
    log.write("agent", "x" * 100_000)
    assert len(written(lines)[-1]) == MAX_LINE


def test_secrets_are_not_written() -> None:
    key = "ak_" + "x" * 43
    lines: list[str] = []
    log = SessionLog(lines.extend, lambda: ["s3cret", "s3cret-and-more", "1", "", "two\nlines here"])
    log.write("agent", f"s3cret s3cret-and-more 1 {key} https://u:p@host/ lines here\nAuthorization: Bearer abcdef")
    assert written(lines) == ["*** *** 1 *** https://***@host/ ***", "Authorization: Bearer ***"]


def stored(connection: Any) -> int:
    return len(connection.execute(SESSION_LOG.select()).all())


async def test_the_newest_lines_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_log, "MAX_BYTES", 2000)
    monkeypatch.setattr(session_log, "SLICE_BYTES", 500)
    async with open_backend(tmp_path) as harness:
        session_id = await harness.running()
        database: Database = harness.backend._database
        row = await database.read(sessions.find, "demo", session_id)
        for number in range(0, 500, 5):
            lines = [f"2030: line {each}" for each in range(number, number + 5)]
            await database.write(session_log.append, row.row_id, lines)

        def read(connection: Connection) -> tuple[list[str], list[str]]:
            return session_log.tail(connection, row.row_id, 10_000), session_log.tail(connection, row.row_id, 3)

        kept, last = await database.read(read)
        ours = [line for line in kept if line.startswith("2030: ")]  # the session may write some itself
        assert ours == [f"2030: line {number}" for number in range(500 - len(ours), 500)]
        assert 2000 - 20 <= sum(map(len, kept)) <= 2500 + 100
        assert last == kept[-3:]


async def test_it_goes_with_the_session(tmp_path: Path) -> None:
    async with open_backend(tmp_path) as harness:
        session_id = await harness.running()
        database: Database = harness.backend._database
        row = await database.read(sessions.find, "demo", session_id)
        await harness.backend._session_logs.flush()
        assert await database.read(stored) > 0
        await harness.backend.sessions.delete_session(CALLER, session_id)
        harness.backend._session_logs.of(row).write("agent", "too late")
        await harness.backend._session_logs.flush()
        await until(lambda: database.read(stored), lambda count: count == 0)


async def test_a_store_that_fails_loses_lines_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise StorageUnavailable

    async with open_backend(tmp_path) as harness:
        with monkeypatch.context() as patch:
            patch.setattr(session_log, "append", fail)
            session_id = await harness.running()
            assert await text_of(harness, session_id) == ""
        await harness.ended(session_id, await harness.say(session_id, "go on"))
        assert "completed" in await until(lambda: text_of(harness, session_id), lambda text: "completed" in text)


async def text_of(harness: Harness, session_id: str) -> str:
    return await harness.backend.output.get_session_logs(CALLER, session_id, tail=100)


async def test_the_output_of_the_agents_process_is_in_the_log(tmp_path: Path) -> None:
    async def talkative(turn: Turn) -> AsyncIterator[bytes]:
        turn.log("loading the model with hunter22\nready")
        yield STARTED
        yield FINISHED

    async with open_backend(tmp_path, talkative) as harness:
        session_id = await harness.running(environment_variables={"PASSWORD": "hunter22"})
        text = await text_of(harness, session_id)
    assert "Z agent: loading the model with ***\n" in text
    assert "Z agent: ready\n" in text
