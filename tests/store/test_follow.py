"""Streams of one session: what many of them read at the same position is read once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from app.agents.port import Turn
from app.models.output import OutputFormat
from app.results import EventStream, StreamEvent
from app.store.sqlite.database import SqliteDatabase
from app.store.statements import driver
from tests.support.scripted import CALLER, FINISHED, STARTED, Harness, event, open_backend, until
from tests.support.store import sqlite_only

READERS = 30


class Reader:
    """Reads a stream to its end."""

    def __init__(self, stream: EventStream) -> None:
        self.events: list[StreamEvent] = []
        self.task = asyncio.create_task(self._read(stream))

    async def _read(self, stream: EventStream) -> None:
        async for page in stream.pages:
            self.events += page

    @property
    def deltas(self) -> list[str]:
        decoded = [msgspec.json.decode(each.event) for each in self.events]
        return [each["delta"] for each in decoded if each["type"] == "TEXT_MESSAGE_CONTENT"]


async def reader(harness: Harness, session_id: str, format: OutputFormat, run_id: str | None = None) -> Reader:
    return Reader(
        await harness.backend.output.stream_session_events(CALLER, session_id, after=None, run_id=run_id, format=format)
    )


@sqlite_only
async def test_readers_at_one_position_have_the_store_read_once(tmp_path: Path) -> None:
    words: asyncio.Queue[str] = asyncio.Queue()

    async def dictate(_turn: Turn) -> AsyncIterator[bytes]:
        yield STARTED
        yield event("TEXT_MESSAGE_START", messageId="m", role="assistant")
        while word := await words.get():
            yield event("TEXT_MESSAGE_CONTENT", messageId="m", delta=word)
        yield event("TEXT_MESSAGE_END", messageId="m")
        yield FINISHED

    async with open_backend(tmp_path, dictate) as harness:
        session_id = await harness.create()
        [run] = await harness.runs(session_id)
        await harness.active(session_id, run.run_id, at_least=2)
        readers = [await reader(harness, session_id, OutputFormat.EVENTS) for _ in range(READERS)]
        compact = await reader(harness, session_id, OutputFormat.COMPACT)
        of_run = await reader(harness, session_id, OutputFormat.EVENTS, run.run_id)
        followers = [*readers, of_run]

        async def receive(word: str) -> None:
            await words.put(word)

            async def all_have_it() -> bool:
                return all(word in each.deltas for each in followers)

            await until(all_have_it)

        await receive("first")
        statements: list[str] = []
        database = harness.backend._database
        assert isinstance(database, SqliteDatabase)
        reading = driver(database._reader)
        reading.set_trace_callback(statements.append)
        await receive("second")
        reading.set_trace_callback(None)
        assert 0 < sum("FROM events" in statement for statement in statements) < READERS
        await words.put("")
        await of_run.task
        await harness.backend.sessions.delete_session(CALLER, session_id)
        await asyncio.gather(compact.task, *(each.task for each in readers))
        assert all(each.deltas == ["first", "second"] for each in followers)
        assert [each.cursor for each in readers[0].events] == list("123456")
        assert compact.deltas == ["firstsecond"]
