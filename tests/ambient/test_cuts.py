"""Recordings of a real platform, cut at any moment: by drops, lost lines, outages, restarts of either side, readers.

`make cuts` tries CUTS of them, others each time; `make test` tries a few, the same ones each time.
"""

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, suppress
from time import monotonic
from typing import Any

import pytest

from app.backends.ambient import pending_runs
from app.backends.ambient.backend import AmbientBackend
from app.backends.ambient.session_state import LOOK_SECONDS
from app.models.output import OutputFormat
from app.results import StreamEvent
from tests.support import platform_failures as failures
from tests.support.platform import FakePlatform
from tests.support.platform_backend import CALLER, LONG_AGO, connected, until
from tests.support.platform_recordings import Line, session_log, streamed_sessions

FIRST = int(os.environ.get("FIRST_CUT", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("CUTS", "16")))
LOGS = [
    (number, session)
    for number in ("02", "03", "04", "06", "07", "08", "11", "17")
    for session in streamed_sessions(number)
]
KEPT = ("RUN_", "MESSAGES_SNAPSHOT", "RAW", "STATE_SNAPSHOT", "CUSTOM")


class Client:
    """A client that reads a session's events and, whenever its stream ends, resumes it after the last one."""

    def __init__(self, run_id: str | None = None) -> None:
        self.events: list[bytes] = []
        self.run_id = run_id
        self.cursor: str | None = None
        self.ended = False
        self._task: asyncio.Task[None] | None = None

    def connect(self, backend: AmbientBackend, session: str) -> None:
        self._task = asyncio.create_task(self._read(backend, session))

    async def disconnect(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _read(self, backend: AmbientBackend, session: str) -> None:
        while not self.ended:
            try:
                stream = await backend.output.stream_session_events(
                    CALLER, session, after=self.cursor, run_id=self.run_id, format=OutputFormat.EVENTS
                )
            except Exception:
                await asyncio.sleep(0.01)  # the platform is away
                continue
            try:
                async for page in stream.pages:
                    self._take(page)
                self.ended = self.run_id is not None
            finally:
                await stream.pages.aclose()

    def _take(self, page: list[StreamEvent]) -> None:
        self.events += [bytes(frame.event) for frame in page]
        self.cursor = next((frame.cursor for frame in reversed(page) if frame.cursor), self.cursor)


class World:
    """A platform that plays a recording, servers in front of it, their clients, and what may happen to them."""

    def __init__(self, platform: FakePlatform, session: str, chance: random.Random) -> None:
        self.clients: list[Client] = []
        self._platform = platform
        self._session = session
        self._chance = chance
        self._stack = AsyncExitStack()
        self._backend: AmbientBackend | None = None
        self._leapt = 0.0
        self._actions: list[tuple[float, Callable[[], Any]]] = [
            (0.10, platform.drop_streams),
            (0.03, self.go_away),
            (0.10, self.come_back),
            (0.05, self.join),
            (0.05, self.resume),
            (0.02, self.restart),
            (0.02, self.die),
            (0.20, self.breathe),
        ]

    async def step(self, line: Line) -> None:
        for likelihood, action in self._actions:
            if self._chance.random() < likelihood and (work := action()) is not None:
                await work
        self._platform.runner.play(self._session, line.stored, line.live)
        run_id = json.loads(line.stored)["runId"]
        if not any(client.run_id == run_id for client in self.clients):
            await self.join(run_id)
        await asyncio.sleep(0)

    async def restart(self) -> None:
        """Start the server anew: all of its connections end, and clients resume."""
        for client in self.clients:
            await client.disconnect()
        await self._stack.aclose()
        options: dict[str, Any] = {"poll_interval": 0.02, "clock": lambda: monotonic() + self._leapt}
        self._backend = await self._stack.enter_async_context(connected(self._platform.url, **options))
        for client in self.clients:
            client.connect(self._backend, self._session)

    def die(self) -> None:
        """Cut all connections, and every new one, as when the platform's backend is killed."""
        for operation in ("get", "export", "events", "capabilities"):
            self._platform.always(operation, failures.disconnect)
        self._platform.drop_streams()

    def lose_runner(self) -> None:
        """Let the session's runner die, which the platform does not notice, or have the time pass in which it shows."""
        self._platform.without_runner.add(self._session)
        self._leapt += LOOK_SECONDS + 1

    async def join(self, run_id: str | None = None) -> None:
        client = Client(run_id)
        self.clients.append(client)
        if self._backend:
            client.connect(self._backend, self._session)

    async def resume(self) -> None:
        if self.clients and self._backend:
            client = self._chance.choice(self.clients)
            await client.disconnect()
            client.connect(self._backend, self._session)

    def go_away(self) -> None:
        for operation in ("get", "export", "events"):
            self._platform.always(operation, failures.error(503, "Away"))
        self._platform.drop_streams()

    def come_back(self) -> None:
        self._platform._always.clear()

    async def breathe(self) -> None:
        await asyncio.sleep(self._chance.random() * 0.05)

    async def close(self) -> None:
        for client in self.clients:
            await client.disconnect()
        await self._stack.aclose()


def lasting(events: list[bytes]) -> list[bytes]:
    return [event for event in events if lasts(json.loads(event))]


def lasts(event: Any) -> bool:
    return bool(event["type"].startswith(KEPT)) or event.get("toolCallName") == "AskUserQuestion"


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePlatform]:
    monkeypatch.setattr(pending_runs, "GRACE_SECONDS", 1e9)  # the runs of recordings were accepted long ago
    with FakePlatform() as platform:
        yield platform


@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_that_lasts_is_missing_nothing_comes_twice_and_every_run_ends(
    platform: FakePlatform, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - where to cut is no secret
    number, session = chance.choice(LOGS)
    platform.add_session("demo", session, status={"startTime": LONG_AGO})
    world = World(platform, session, chance)
    lines = session_log(number, session)
    await world.join()
    await world.restart()
    try:
        for line in lines:
            await world.step(line)
        world.come_back()
        for client in world.clients:
            await check(client, lines)
    finally:
        await world.close()


@pytest.mark.parametrize("seed", SEEDS[::4])
async def test_every_run_that_has_begun_ends_once_its_runner_has_died(platform: FakePlatform, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - where to cut is no secret
    number, session = chance.choice(LOGS)
    platform.add_session("demo", session, status={"startTime": LONG_AGO})
    world = World(platform, session, chance)
    lines = session_log(number, session)
    lines = lines[: chance.randrange(1, len(lines))]
    await world.restart()
    try:
        for line in lines:
            await world.step(line)
        world.come_back()
        begun = {one["runId"] for one in (json.loads(line.stored) for line in lines) if one["type"] == "RUN_STARTED"}
        for client in world.clients:
            if client.run_id in begun:
                async with asyncio.timeout(20):
                    while not client.ended:
                        world.lose_runner()
                        await asyncio.sleep(0.1)
                stored = [line.stored for line in lines if client.run_id == json.loads(line.stored)["runId"]]
                assert lasting(client.events)[: len(lasting(stored))] == lasting(stored)
                assert json.loads(client.events[-1])["type"] in {"RUN_FINISHED", "RUN_ERROR"}
    finally:
        await world.close()


async def check(client: Client, lines: list[Line]) -> None:
    stored = [line.stored for line in lines if client.run_id in (None, json.loads(line.stored)["runId"])]
    with suppress(TimeoutError):
        await until(lambda: lasting(client.events) == lasting(stored))
    assert lasting(client.events) == lasting(stored)
    assert Counter(client.events) <= Counter(stored)
    if client.run_id:
        await until(lambda: client.ended)
