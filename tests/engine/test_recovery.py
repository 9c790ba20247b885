"""A server that went down, one way or another, and the next one on the same store."""

import asyncio
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import update

from app.agents.port import Turn
from app.engine import workspace
from app.errors import StorageUnavailable
from app.git.access import GitAccess
from app.models.runs import RunStatus
from app.models.sessions import Repo, SessionStatus
from app.store import deletions
from app.store.open import open_transactions
from app.store.tables import SESSIONS
from tests.support.scripted import (
    CALLER,
    Harness,
    Stubborn,
    echo,
    endless,
    last_message,
    make_backend,
    open_backend,
    until,
)
from tests.support.store import KILLED, copy_store, sqlite_only, store_url


def crash_image(store: Path, copy: Path) -> Path:
    """The store as a crash at this moment would leave it."""
    copy.mkdir()
    copy_store(store / "store.db", copy / "store.db")
    for name in ("workspaces", "workers"):
        if (store / name).exists():
            shutil.copytree(store / name, copy / name, dirs_exist_ok=True)
    if (store / "disk-id").exists():
        shutil.copy(store / "disk-id", copy)
    return copy


async def test_the_active_run_is_closed_and_the_queue_goes_on_when_the_server_crashed(tmp_path: Path) -> None:
    async with open_backend(tmp_path / "first", endless) as harness:
        session_id = await harness.create()
        [task] = await harness.runs(session_id)
        await harness.active(session_id, task.run_id, at_least=2)
        queued = [await harness.say(session_id, content) for content in ("one", "two")]
        copy = await asyncio.to_thread(crash_image, tmp_path / "first", tmp_path / "copy")
    async with open_backend(copy) as harness:
        run = await harness.ended(session_id, task.run_id)
        assert (run.status, run.error) == (RunStatus.ERROR, KILLED[1])
        log = await harness.log(session_id, task.run_id)
        assert [each["type"] for each in log] == ["RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_END", "RUN_ERROR"]
        assert log[-1]["code"] == KILLED[0]
        for run_id, content in zip(queued, ("one", "two"), strict=True):
            run = await harness.ended(session_id, run_id)
            assert (run.status, run.user_message) == (RunStatus.COMPLETED, content)
        assert (await harness.backend.sessions.get_session(CALLER, session_id)).status is SessionStatus.RUNNING


async def test_nothing_changes_when_a_recovered_store_is_opened_again(tmp_path: Path) -> None:
    async with open_backend(tmp_path / "first", endless) as harness:
        session_id = await harness.create()
        [task] = await harness.runs(session_id)
        await harness.active(session_id, task.run_id, at_least=2)
        copy = await asyncio.to_thread(crash_image, tmp_path / "first", tmp_path / "copy")
    logs = []
    for _ in range(3):
        async with open_backend(copy) as harness:
            await harness.ended(session_id, task.run_id)
            logs.append(await harness.log(session_id))
    assert logs[0] == logs[1] == logs[2]
    assert len(logs[0]) == 4


async def test_sessions_are_resumed_when_they_were_pending_or_stopping(tmp_path: Path) -> None:
    async with open_backend(tmp_path / "first", endless, max_running=1) as harness:
        stopping = await harness.create("stopping")
        [task] = await harness.runs(stopping)
        await harness.active(stopping, task.run_id, at_least=2)
        queued = await harness.say(stopping, "queued")
        stopped_before_begun = await harness.create("stopped early")
        pending = await harness.create("pending")
        copy = await asyncio.to_thread(crash_image, tmp_path / "first", tmp_path / "copy")
    with open_transactions(store_url(copy / "store.db")) as transaction, transaction() as store:
        for session_id in (stopping, stopped_before_begun):
            store.execute(update(SESSIONS).where(SESSIONS.c.id == session_id).values(status="stopping"))
    async with open_backend(copy) as harness:
        await harness.status(stopping, SessionStatus.STOPPED)
        assert [run.status for run in await harness.runs(stopping)] == [RunStatus.ERROR, RunStatus.INTERRUPTED]
        assert await harness.types(stopping, queued) == ["RUN_STARTED", "RUN_FINISHED"]
        await harness.status(stopped_before_begun, SessionStatus.STOPPED)
        assert [run.status for run in await harness.runs(stopped_before_begun)] == [RunStatus.QUEUED]
        await harness.status(pending, SessionStatus.RUNNING)
        [run] = await harness.runs(pending)
        assert (await harness.ended(pending, run.run_id)).status is RunStatus.COMPLETED


async def test_a_workspace_is_removed_by_the_next_server_when_the_one_that_deleted_its_session_could_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_directory: Path) -> None:
        raise workspace.WorkspaceError("The workspace could not be removed.")

    with monkeypatch.context() as patch:
        async with open_backend(tmp_path) as harness:
            other, gone = await harness.running(), await harness.running()
            patch.setattr(workspace, "delete", fail)
            await harness.backend.sessions.delete_session(CALLER, gone)
    left = tmp_path / "workspaces" / "demo" / gone
    assert await asyncio.to_thread(left.is_dir)
    for _ in range(2):
        async with open_backend(tmp_path) as harness:
            await until(lambda: asyncio.to_thread(left.exists), lambda exists: not exists)
            await until(lambda: removals_left(harness), lambda pending: pending == [])
            assert await asyncio.to_thread(left.with_name(other).is_dir)


async def removals_left(harness: Harness) -> list[deletions.Deletion]:
    return await harness.backend._database.read(deletions.pending)


async def test_what_the_store_did_not_make_stays_when_two_stores_share_a_directory(tmp_path: Path) -> None:
    foreign = tmp_path / "workspaces" / "photos" / "holidays"
    await asyncio.to_thread(foreign.mkdir, parents=True)
    async with open_backend(tmp_path) as harness:
        first = await harness.running()
    other = make_backend(tmp_path, store=store_url(tmp_path / "other.db"))
    await other.open()
    second = await Harness(other).running()
    await other.close()
    async with open_backend(tmp_path) as harness:
        await harness.backend.sessions.delete_session(CALLER, first)
        await harness.running()
    names = await asyncio.to_thread(lambda: {path.name for path in (tmp_path / "workspaces").glob("*/*")})
    assert {"holidays", second} < names
    assert first not in names


@sqlite_only  # elsewhere servers share the store
async def test_a_second_server_is_refused_when_one_uses_the_store(tmp_path: Path) -> None:
    async with open_backend(tmp_path, endless) as harness:
        session_id = await harness.create()
        [task] = await harness.runs(session_id)
        await harness.active(session_id, task.run_id)
        with pytest.raises(StorageUnavailable, match="Another server"):
            await make_backend(tmp_path).open()
        assert (await harness.run(session_id, task.run_id)).status is RunStatus.RUNNING


async def test_active_runs_are_closed_and_queued_ones_stay_when_the_server_shuts_down(tmp_path: Path) -> None:
    async with open_backend(tmp_path, endless) as harness:
        session_id = await harness.create()
        [task] = await harness.runs(session_id)
        await harness.active(session_id, task.run_id, at_least=2)
        queued = await harness.say(session_id, "queued")
    begun: list[str] = []

    async def remember(turn: Turn) -> AsyncIterator[bytes]:
        begun.append(last_message(turn))
        async for each in echo(turn):
            yield each

    async with open_backend(tmp_path, remember) as harness:
        log = await harness.log(session_id, task.run_id)
        assert [each["type"] for each in log] == ["RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_END", "RUN_ERROR"]
        assert log[-1]["code"] == "server_restarted"
        assert (await harness.ended(session_id, queued)).status is RunStatus.COMPLETED
    assert begun == ["queued"]


async def test_the_shutdown_ends_when_an_agent_does_not_end_its_turn(tmp_path: Path) -> None:
    stubborn = Stubborn()
    async with open_backend(tmp_path, stubborn) as harness:
        session_id = await harness.create()
        [task] = await harness.runs(session_id)
        await harness.active(session_id, task.run_id, at_least=1)
    stubborn.free.set()
    async with open_backend(tmp_path) as harness:
        assert (await harness.log(session_id))[-1]["code"] == "server_restarted"


async def test_provisioning_is_resumed_when_the_server_was_shut_down_meanwhile(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        repos = [Repo(url=f"http://127.0.0.1:{server.getsockname()[1]}/stuck.git")]
        async with open_backend(tmp_path, git=GitAccess(("http",), ["127.0.0.1"])) as harness:
            session_id = await harness.create(repos=repos)
            git, _ = await asyncio.get_running_loop().sock_accept(server)
        git.close()
    async with open_backend(tmp_path, git=GitAccess(("http",), ["127.0.0.1"])) as harness:
        await harness.status(session_id, SessionStatus.FAILED)
        assert [run.status for run in await harness.runs(session_id)] == [RunStatus.QUEUED]


@pytest.mark.parametrize("_attempt", range(3))
async def test_nothing_that_was_seen_or_accepted_is_lost_when_the_process_is_killed(
    tmp_path: Path, _attempt: int
) -> None:
    store = store_url(tmp_path / "store.db")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.crashing", str(tmp_path), store, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    session_id, task, *queued = (await process.stdout.readline()).decode().split()
    seen = 0
    while seen < 50:
        seen = int(await process.stdout.readline())
    process.kill()
    remaining, _ = await process.communicate()
    seen = max([seen, *map(int, remaining.split()[:-1])])
    async with open_backend(tmp_path) as harness:
        await harness.ended(session_id, task)
        log = await harness.log(session_id, task)
        assert len(log) >= seen
        assert [each["type"] for each in log[:2]] == ["RUN_STARTED", "TEXT_MESSAGE_START"]
        assert [each["delta"] for each in log[2:-2]] == [f"{tick} " for tick in range(len(log) - 4)]
        assert [each["type"] for each in log[-2:]] == ["TEXT_MESSAGE_END", "RUN_ERROR"]
        assert log[-1]["code"] == KILLED[0]
        for run_id in queued:
            assert (await harness.ended(session_id, run_id)).status is RunStatus.COMPLETED
        assert not [run for run in await harness.runs(session_id) if run.status is RunStatus.RUNNING]
