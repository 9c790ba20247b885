"""An embedded backend on a real file, driven by agents that follow a script."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from cryptography.fernet import Fernet

from app.agent_definition import DEMO
from app.agents.port import Agent, Turn
from app.agents.registry import AgentRegistry
from app.backends.embedded.backend import EmbeddedBackend
from app.engine.config import EngineConfig, GracePeriod
from app.engine.session_secrets import SessionSecrets
from app.models.caller import Caller
from app.models.runs import MessageCreate, RunStatus, RunSummary
from app.models.sessions import SessionCreate, SessionStatus
from tests.support.output import stored_events
from tests.support.store import migrated_store_url

T = TypeVar("T")
Play = Callable[[Turn], AsyncIterator[bytes]]
SECRETS = SessionSecrets([Fernet.generate_key().decode()])
CALLER = Caller(token="t", project="demo")
QUICK = GracePeriod(cancel=0.2, close=0.2)
FINAL = {RunStatus.WAITING, RunStatus.COMPLETED, RunStatus.ERROR, RunStatus.INTERRUPTED}


def event(type_: str, **fields: Any) -> bytes:
    """Return an AG-UI event as an agent writes it."""
    return msgspec.json.encode({"type": type_, **fields})


STARTED = event("RUN_STARTED", threadId="theirs", runId="theirs")
FINISHED = event("RUN_FINISHED", threadId="theirs", runId="theirs")


def last_message(turn: Turn) -> str:
    """Return the text of a turn's last message."""
    content: str = turn.input["messages"][-1]["content"]
    return content


class Scripted(Agent):
    """An agent that plays the same script each turn, and counts how often it was closed."""

    def __init__(self, play: Play) -> None:
        self._play = play
        self.closed = 0

    def run(self, turn: Turn) -> AsyncIterator[bytes]:
        return self._play(turn)

    async def close(self) -> None:
        self.closed += 1


async def echo(turn: Turn) -> AsyncIterator[bytes]:
    """Answer with the words of the message."""
    message_id = f"answer-{turn.input['runId']}"
    yield STARTED
    yield event("TEXT_MESSAGE_START", messageId=message_id, role="assistant")
    for word in last_message(turn).split():
        yield event("TEXT_MESSAGE_CONTENT", messageId=message_id, delta=word)
    yield event("TEXT_MESSAGE_END", messageId=message_id)
    yield FINISHED


async def endless(turn: Turn) -> AsyncIterator[bytes]:
    """Start a text and never end it."""
    yield STARTED
    yield event("TEXT_MESSAGE_START", messageId=f"answer-{turn.input['runId']}", role="assistant")
    await asyncio.Event().wait()


class Stubborn:
    """A script that starts a turn and ignores cancellation until it is set `free`."""

    def __init__(self) -> None:
        self.free = asyncio.Event()

    async def __call__(self, _turn: Turn) -> AsyncIterator[bytes]:
        """The script."""
        yield STARTED
        while not self.free.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.free.wait()


async def until(look: Callable[[], Awaitable[T]], holds: Callable[[T], object] = bool, within: float = 20.0) -> T:
    """Return the result of `look` once `holds` is true of it."""
    end = time.monotonic() + within
    while True:
        seen = await look()
        if holds(seen):
            return seen
        assert time.monotonic() < end, f"not within {within} s; last seen: {seen!r}"
        await asyncio.sleep(0.005)


class Harness:
    """A backend with short methods for what tests do with it."""

    def __init__(self, backend: EmbeddedBackend) -> None:
        self.backend = backend

    async def create(self, task: str = "the task", **fields: Any) -> str:
        """Create a session and return its id."""
        return (await self.backend.sessions.create_session(CALLER, SessionCreate(task=task, **fields))).value.id

    async def running(self, task: str = "the task", **fields: Any) -> str:
        """Create a session, wait until its task has ended, and return its id."""
        session_id = await self.create(task, **fields)
        await self.status(session_id, SessionStatus.RUNNING)
        [run] = await self.runs(session_id)
        await self.ended(session_id, run.run_id)
        return session_id

    async def say(self, session_id: str, content: str) -> str:
        """Send a message and return the id of its run."""
        return (await self.backend.runs.send_message(CALLER, session_id, MessageCreate(content=content))).value.run_id

    async def runs(self, session_id: str) -> list[RunSummary]:
        return (await self.backend.runs.list_runs(CALLER, session_id, status=None)).runs

    async def run(self, session_id: str, run_id: str) -> RunSummary:
        return await self.backend.runs.get_run(CALLER, session_id, run_id)

    async def status(self, session_id: str, wanted: SessionStatus) -> None:
        """Wait until the session has that status."""
        await until(
            lambda: self.backend.sessions.get_session(CALLER, session_id), lambda session: session.status is wanted
        )

    async def active(self, session_id: str, run_id: str, at_least: int = 0) -> None:
        """Wait until the run is active and has that many events."""

        def reached(run: RunSummary) -> bool:
            return run.status is RunStatus.RUNNING and run.event_count >= at_least

        await until(lambda: self.run(session_id, run_id), reached)

    async def ended(self, session_id: str, run_id: str) -> RunSummary:
        """Wait until the run has ended, and return it."""
        return await until(lambda: self.run(session_id, run_id), lambda run: run.status in FINAL)

    async def log(self, session_id: str, run_id: str | None = None) -> list[dict[str, Any]]:
        """Return the events of the session, or of one run."""
        log = await stored_events(self.backend, CALLER, session_id, run_id=run_id)
        return [msgspec.json.decode(event) for event in log]

    async def types(self, session_id: str, run_id: str | None = None) -> list[str]:
        """Return the types of those events."""
        return [each["type"] for each in await self.log(session_id, run_id)]


def make_backend(directory: Path, play: Play = echo, **options: Any) -> EmbeddedBackend:
    """Return a backend with its files in `directory`, whose agents come from `make_agent` or play `play`.

    Other `options` are `store`, `observe`, `place` and those of EngineConfig.
    """
    make_agent = options.pop("make_agent", lambda: Scripted(play))
    agents = AgentRegistry([DEMO], lambda _definition: make_agent())
    store = options.pop("store", None) or migrated_store_url(directory / "store.db")
    own = {name: options.pop(name) for name in ("observe", "place") if name in options}
    defaults: dict[str, Any] = {"agents": agents, "secrets": SECRETS, "run_timeout": 60.0, "grace": QUICK}
    return EmbeddedBackend(store, EngineConfig(directory=directory, **{**defaults, **options}), **own)


@asynccontextmanager
async def open_backend(directory: Path, play: Play = echo, **options: Any) -> AsyncIterator[Harness]:
    """Open a backend and close it at the end."""
    backend = make_backend(directory, play, **options)
    await backend.open()
    try:
        yield Harness(backend)
    finally:
        await backend.close()
