"""Quotas: what a run, a session and a project may store, and how many sessions of a project have not ended."""

import asyncio
import itertools
import operator
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from app.agents.port import Turn
from app.engine import disk_quota
from app.errors import (
    ProjectQuotaExceeded,
    SessionQuotaExceeded,
    StorageUnavailable,
    TooManySessions,
    WorkspaceQuotaExceeded,
)
from app.models.caller import Caller
from app.models.limits import Limits, ProjectUsage
from app.models.runs import RunStatus
from app.models.sessions import SessionCreate, SessionStatus
from app.store import quotas, sessions
from app.waiting import is_set_within
from tests.support.scripted import (
    CALLER,
    FINISHED,
    STARTED,
    Harness,
    Play,
    endless,
    event,
    last_message,
    open_backend,
    until,
)

OTHER = Caller(token="other", project="other")
CHUNK = 1000


async def chatter(_turn: Turn) -> AsyncIterator[bytes]:
    """Say more and more without end."""
    yield STARTED
    while True:
        yield event("CUSTOM", name="n", value="x" * CHUNK)


async def brief(_turn: Turn) -> AsyncIterator[bytes]:
    """Say something and end."""
    yield STARTED
    yield event("CUSTOM", name="n", value="x" * CHUNK)
    yield FINISHED


async def usage(harness: Harness) -> ProjectUsage:
    return await harness.backend._quotas.usage(CALLER.project)


@pytest.fixture(autouse=True)
def _fresh_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "SUM_SECONDS", 0.0)


async def test_a_run_ends_when_its_log_grows_too_large(tmp_path: Path) -> None:
    async with open_backend(tmp_path, chatter, limits=Limits(max_run_bytes=20 * CHUNK)) as harness:
        session_id = await harness.running()
        log = await harness.log(session_id)
        assert (log[-1]["type"], log[-1]["code"]) == ("RUN_ERROR", "run_too_large")
        assert sum(len(str(each)) for each in log) < 25 * CHUNK
        [run] = await harness.runs(session_id)
        assert run.status is RunStatus.ERROR


async def test_a_session_that_is_full_takes_no_more_runs(tmp_path: Path) -> None:
    async with open_backend(tmp_path, chatter, limits=Limits(max_session_bytes=20 * CHUNK)) as harness:
        session_id = await harness.running()
        while (stored := (await usage(harness)).stored_bytes) < 20 * CHUNK:
            run_id = await harness.say(session_id, "m" * (20 * CHUNK - stored))
            assert (await harness.ended(session_id, run_id)).status is RunStatus.ERROR
        with pytest.raises(SessionQuotaExceeded):
            await harness.say(session_id, "more")
        await harness.running()


async def test_a_project_that_is_full_takes_nothing_until_it_deletes(tmp_path: Path) -> None:
    async with open_backend(tmp_path, brief, limits=Limits(max_project_bytes=3 * CHUNK)) as harness:
        session_id = await harness.running()
        await harness.say(session_id, "m" * 2 * CHUNK)
        with pytest.raises(ProjectQuotaExceeded):
            await harness.say(session_id, "more")
        with pytest.raises(ProjectQuotaExceeded):
            await harness.create()
        await harness.backend.sessions.create_session(OTHER, SessionCreate(task="elsewhere"))
        await harness.backend.sessions.delete_session(CALLER, session_id)
        assert (await usage(harness)).stored_bytes == 0
        await harness.create()


async def test_sessions_that_have_not_ended_are_bounded(tmp_path: Path) -> None:
    async with open_backend(tmp_path, brief, limits=Limits(max_sessions=2)) as harness:
        first, _second = await harness.running(), await harness.running()
        with pytest.raises(TooManySessions):
            await harness.create()
        await harness.backend.sessions.create_session(OTHER, SessionCreate(task="elsewhere"))
        await harness.backend.sessions.stop_session(CALLER, first)
        await harness.status(first, SessionStatus.STOPPED)
        await harness.running()
        with pytest.raises(TooManySessions):
            await harness.backend.sessions.start_session(CALLER, first)
        assert (await usage(harness)).sessions == 2


async def test_inputs_count_before_their_runs_have_begun(tmp_path: Path) -> None:
    async with open_backend(tmp_path, brief) as harness:
        await harness.create("x" * CHUNK)
        assert (await usage(harness)).stored_bytes > 2 * CHUNK, "the request and the input of its first run"


def hoarding(directory: Callable[[Turn], Path]) -> Play:
    """Return a script that writes files without end, in a directory of the turn's."""

    async def hoard(turn: Turn) -> AsyncIterator[bytes]:
        yield STARTED
        place = directory(turn)
        place.mkdir(parents=True, exist_ok=True)
        for number in itertools.count():
            (place / f"{number}").write_bytes(bytes(100 * CHUNK))
            yield event("CUSTOM", name="n", value=number)
            await asyncio.sleep(0.01)

    return hoard


def nesting(turn: Turn) -> Path:
    """Return the workspace, once it has directories that no path reaches."""
    directory = os.open(turn.workspace, os.O_RDONLY)
    for _ in range(600):
        os.mkdir("directory", dir_fd=directory)
        below = os.open("directory", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
    os.close(directory)
    return turn.home


@pytest.fixture
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_quota, "FEWEST_SECONDS", 0.05)
    monkeypatch.setattr(disk_quota, "MOST_SECONDS", 0.05)


@pytest.mark.usefixtures("_often")
@pytest.mark.parametrize("directory", [lambda turn: turn.workspace, lambda turn: turn.home, nesting])
async def test_a_run_ends_when_its_workspace_grows_too_large(tmp_path: Path, directory: Callable[[Turn], Path]) -> None:
    limits = Limits(max_workspace_bytes=2000 * CHUNK)
    async with open_backend(tmp_path, hoarding(directory), limits=limits) as harness:
        session_id = await harness.running()
        log = await harness.log(session_id)
        assert (log[-1]["type"], log[-1]["code"]) == ("RUN_ERROR", "workspace_too_large")
        with pytest.raises(WorkspaceQuotaExceeded):
            await harness.say(session_id, "more")
        with pytest.raises(WorkspaceQuotaExceeded):
            await harness.backend.workspaces.write_workspace_file(CALLER, session_id, path=b"x", content=chunks(1))
        assert (await usage(harness)).workspace_bytes >= 2000 * CHUNK
        await harness.backend.sessions.delete_session(CALLER, session_id)
        await until(lambda: asyncio.to_thread(lambda: list((tmp_path / "workspaces/demo").iterdir())), operator.not_)


async def chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(CHUNK)


async def test_what_clients_write_counts(tmp_path: Path) -> None:
    async with open_backend(tmp_path, brief, limits=Limits(max_workspace_bytes=100 * CHUNK)) as harness:
        session_id = await harness.running()

        async def write(count: int) -> None:
            await harness.backend.workspaces.write_workspace_file(CALLER, session_id, path=b"x", content=chunks(count))

        with pytest.raises(WorkspaceQuotaExceeded):
            await write(101)
        for _ in range(5):  # a file that is written again counts once
            await write(40)
        assert (tmp_path / "workspaces/demo" / session_id / "x").stat().st_size == 40 * CHUNK


async def test_the_workspaces_of_a_project_are_bounded_together(tmp_path: Path) -> None:
    async with open_backend(tmp_path, brief, limits=Limits(max_project_workspace_bytes=100 * CHUNK)) as harness:
        session_id = await harness.running()
        await harness.backend.workspaces.write_workspace_file(CALLER, session_id, path=b"x", content=chunks(100))
        with pytest.raises(WorkspaceQuotaExceeded):
            await harness.create()
        await harness.backend.sessions.create_session(OTHER, SessionCreate(task="elsewhere"))
        await harness.backend.sessions.delete_session(CALLER, session_id)
        await harness.create()


@pytest.mark.usefixtures("_often")
async def test_a_workspace_is_measured_again_when_the_store_was_away(tmp_path: Path) -> None:
    class Unsteady(quotas.Quotas):
        has_failed = False

        async def room(self, project: str) -> quotas.Room:
            if not self.has_failed:
                self.has_failed = True
                raise StorageUnavailable
            return await super().room(project)

    async with open_backend(tmp_path, brief) as harness:
        session_id = await harness.running()
        await harness.backend.workspaces.write_workspace_file(CALLER, session_id, path=b"x", content=chunks(1))
        database, config = harness.backend._database, harness.backend._config
        session = await database.read_one(sessions.find, CALLER.project, session_id)
        quota = disk_quota.DiskQuota(database, config, Unsteady(database, Limits(max_workspace_bytes=CHUNK)))
        exceeded = asyncio.Event()

        async def note() -> None:
            exceeded.set()

        watching = asyncio.create_task(quota.watch(session, note, asyncio.Event()))
        async with asyncio.timeout(20):
            await exceeded.wait()
        watching.cancel()


async def test_a_session_without_a_run_is_measured_rarely_and_at_once_when_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = asyncio.Event()

    async def wait(has_run: asyncio.Event, seconds: float) -> bool:
        if not has_run.is_set():
            waits.set()
        return await is_set_within(has_run, seconds)

    def play(turn: Turn) -> AsyncIterator[bytes]:
        return endless(turn) if last_message(turn) == "go on" else brief(turn)

    monkeypatch.setattr(disk_quota, "is_set_within", wait)
    monkeypatch.setattr(disk_quota, "FEWEST_SECONDS", 0.0)
    monkeypatch.setattr(disk_quota, "MOST_SECONDS", 1000.0)
    async with open_backend(tmp_path, play, limits=Limits(max_workspace_bytes=2000 * CHUNK)) as harness:
        session_id = await harness.running()
        async with asyncio.timeout(20):
            await waits.wait()
        (tmp_path / "workspaces/demo" / session_id / "x").write_bytes(bytes(2000 * CHUNK))
        run = await harness.ended(session_id, await harness.say(session_id, "go on"))
        assert run.status is RunStatus.ERROR
        assert (await harness.log(session_id))[-1]["code"] == "workspace_too_large"


async def test_nothing_is_measured_any_more_when_the_server_stops_as_a_run_begins(tmp_path: Path) -> None:
    async with open_backend(tmp_path) as harness:
        session_id = await harness.running()
    async with open_backend(tmp_path, endless) as harness:
        await harness.say(session_id, "more")
        await asyncio.sleep(0)  # the run is being claimed
    watches = [task for task in asyncio.all_tasks() if task.get_coro().__qualname__ == "DiskQuota.watch"]  # type: ignore[union-attr]
    assert watches == []
