"""Sessions of the embedded backend: made, listed, stopped, started again, deleted."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from app.agents.port import Turn
from app.errors import AlreadyEnded, AlreadyRunning, BadRequest, NotRunning, SessionNotFound
from app.git.access import GitAccess
from app.models.caller import Caller
from app.models.output import OutputFormat
from app.models.runs import MessageCreate, RunStatus
from app.models.sessions import Repo, SessionCreate, SessionStatus, Workflow
from app.results import StreamedBody
from app.store import log, sessions
from tests.support.scripted import (
    CALLER,
    STARTED,
    Harness,
    Scripted,
    Stubborn,
    echo,
    endless,
    event,
    last_message,
    open_backend,
    until,
)

OTHER = Caller(token="t", project="other")


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with open_backend(tmp_path) as harness:
        yield harness


async def ids(harness: Harness, *, search: str | None = None, status: tuple[SessionStatus, ...] = ()) -> list[str]:
    page = await harness.backend.sessions.list_sessions(
        CALLER, limit=100, offset=0, search=search, status=status, label=()
    )
    assert page.total == len(page.items)
    return [session.id for session in page.items]


async def test_credentials_in_a_url_are_used_and_never_shown(harness: Harness) -> None:
    repos = [Repo(url="https://user:s3cret@127.0.0.1:1/x.git", branch="main")]
    created = (await harness.backend.sessions.create_session(CALLER, SessionCreate(task="x", repos=repos))).value
    await harness.status(created.id, SessionStatus.FAILED)
    again = await harness.backend.sessions.start_session(CALLER, created.id)
    await harness.status(created.id, SessionStatus.FAILED)
    listed = await harness.backend.sessions.list_sessions(CALLER, limit=1, offset=0, search=None, status=(), label=())
    shown = [created, again, await harness.backend.sessions.get_session(CALLER, created.id), *listed.items]
    assert [session.repos for session in shown] == [[Repo(url="https://127.0.0.1:1/x.git", branch="main")]] * 4
    row = await harness.backend._database.read(sessions.find, "demo", created.id)
    assert harness.backend._config.secrets.whole(row).repos == repos


async def test_the_answer_shows_what_was_asked_for_when_a_session_is_created(harness: Harness) -> None:
    new = SessionCreate(task="Fix it", display_name="Fix", environment_variables={"SECRET": "s3cret"})
    created = (await harness.backend.sessions.create_session(CALLER, new)).value
    assert re.fullmatch(r"session-[a-z0-9-]{1,55}", created.id)
    assert created.created_at is not None
    age = datetime.now(UTC) - datetime.fromisoformat(created.created_at)
    assert abs(age.total_seconds()) < 60
    assert msgspec.to_builtins(created) == {
        "id": created.id,
        "status": "pending",
        "display_name": "Fix",
        "task": "Fix it",
        "agent": "demo",
        "created_at": created.created_at,
        "approval_policy": "ask",
        "run_id": created.run_id,
        "message": "Session created",
    }
    await harness.status(created.id, SessionStatus.RUNNING)
    assert "s3cret" not in str(await harness.backend.sessions.get_session(CALLER, created.id))


async def test_the_task_is_the_first_run_when_the_session_runs(harness: Harness) -> None:
    session_id = await harness.create("Say hello")
    [queued] = await harness.runs(session_id)
    run = await harness.ended(session_id, queued.run_id)
    assert (run.status, run.user_message, run.thread_id) == (RunStatus.COMPLETED, "Say hello", session_id)


async def test_the_agent_gets_workspace_and_environment_when_it_takes_a_turn(tmp_path: Path) -> None:
    turns: list[Turn] = []

    async def remember(turn: Turn) -> AsyncIterator[bytes]:
        turns.append(turn)
        async for each in echo(turn):
            yield each

    async with open_backend(tmp_path, remember) as harness:
        session_id = await harness.running(environment_variables={"A": "1"})
        assert turns[0].environment == {"A": "1"}
        assert turns[0].workspace == tmp_path / "workspaces" / "demo" / session_id
        assert await asyncio.to_thread(turns[0].workspace.is_dir)


@pytest.mark.parametrize(
    "new",
    [
        SessionCreate(task="t", repos=[Repo(url="ext::sh -c id")]),
        SessionCreate(task="t", active_workflow=Workflow(git_url="https://example.com/a.git", path="../..")),
    ],
)
async def test_creating_is_refused_when_a_repository_is_hostile(harness: Harness, new: SessionCreate) -> None:
    with pytest.raises(BadRequest):
        await harness.backend.sessions.create_session(CALLER, new)
    assert await ids(harness) == []


async def test_the_session_fails_with_the_reason_when_the_clone_does(tmp_path: Path) -> None:
    async with open_backend(tmp_path, git=GitAccess(("file",))) as harness:
        session_id = await harness.create(repos=[Repo(url=f"{tmp_path.as_uri()}/nothing-here")])
        await harness.status(session_id, SessionStatus.FAILED)
        session = await harness.backend.sessions.get_session(CALLER, session_id)
        assert session.error is not None
        assert "could not be cloned" in session.error
        assert str(tmp_path) not in session.error
        assert session.completed_at is not None
        assert [run.status for run in await harness.runs(session_id)] == [RunStatus.QUEUED]
        assert (await harness.backend.sessions.start_session(CALLER, session_id)).error is None
        await harness.status(session_id, SessionStatus.FAILED)


async def test_nothing_is_seen_of_a_session_when_the_project_is_another(harness: Harness) -> None:
    session_id = await harness.running()
    backend = harness.backend
    [run] = await harness.runs(session_id)
    for attempt in (
        backend.sessions.get_session(OTHER, session_id),
        backend.sessions.delete_session(OTHER, session_id),
        backend.sessions.start_session(OTHER, session_id),
        backend.sessions.stop_session(OTHER, session_id),
        backend.runs.interrupt_session(OTHER, session_id),
        backend.runs.send_message(OTHER, session_id, MessageCreate(content="x")),
        backend.runs.list_runs(OTHER, session_id, status=None),
        backend.runs.get_run(OTHER, session_id, run.run_id),
        backend.output.get_session_output(OTHER, session_id, format=OutputFormat.EVENTS, run_id=None),
    ):
        with pytest.raises(SessionNotFound):
            await attempt
    page = await backend.sessions.list_sessions(OTHER, limit=10, offset=0, search=None, status=(), label=())
    assert (page.items, page.total, page.has_more) == ([], 0, False)


async def test_sessions_are_listed_newest_first_and_in_pages_when_there_are_many(harness: Harness) -> None:
    made = [await harness.create(f"task {n}") for n in range(5)]
    pages = [
        await harness.backend.sessions.list_sessions(CALLER, limit=2, offset=offset, search=None, status=(), label=())
        for offset in (0, 2, 4)
    ]
    assert [session.id for page in pages for session in page.items] == made[::-1]
    assert [(page.total, page.has_more, page.next_offset) for page in pages] == [
        (5, True, 2),
        (5, True, 4),
        (5, False, None),
    ]
    beyond = await harness.backend.sessions.list_sessions(
        CALLER, limit=2, offset=2**31 - 1, search=None, status=(), label=()
    )
    assert (beyond.items, beyond.total, beyond.has_more) == ([], 5, False)


async def test_sessions_are_found_by_a_substring_when_the_case_differs(harness: Harness) -> None:
    first = await harness.create("Migrate the ÄPFEL", display_name="Fruit")
    second = await harness.create("100% of a_b", display_name="Percent")
    assert await ids(harness, search="äpfel") == [first]
    assert await ids(harness, search="FRUIT") == [first]
    assert await ids(harness, search="0% OF") == [second]
    assert await ids(harness, search="a_B") == [second]
    assert (
        await ids(harness, search="a%b")
        == await ids(harness, search="a__b")
        == await ids(harness, search="fruitmigrate")
        == []
    )
    assert await ids(harness, search=second[-12:].upper()) == [second]


async def test_sessions_are_filtered_by_status_when_it_is_asked_for(harness: Harness) -> None:
    stopped, running = await harness.running(), await harness.running()
    await harness.backend.sessions.stop_session(CALLER, stopped)
    await harness.status(stopped, SessionStatus.STOPPED)
    assert await ids(harness, status=(SessionStatus.STOPPED,)) == [stopped]
    assert await ids(harness, status=(SessionStatus.RUNNING, SessionStatus.STOPPED)) == [running, stopped]
    assert await ids(harness, status=(SessionStatus.FAILED,)) == []
    assert await harness.backend.running_sessions() == 1


async def test_the_active_run_and_the_queued_ones_end_as_interrupted_when_the_session_stops(tmp_path: Path) -> None:
    agents: list[Scripted] = []

    def make_agent() -> Scripted:
        agents.append(Scripted(endless))
        return agents[-1]

    async with open_backend(tmp_path, make_agent=make_agent) as harness:
        session_id = await harness.create()
        [task] = await harness.runs(session_id)
        await harness.active(session_id, task.run_id, at_least=2)
        queued = [await harness.say(session_id, f"more {n}") for n in range(2)]
        assert (await harness.backend.sessions.stop_session(CALLER, session_id)).status is SessionStatus.STOPPING
        await harness.status(session_id, SessionStatus.STOPPED)
        runs = await harness.runs(session_id)
        assert [run.run_id for run in runs] == [task.run_id, *queued]
        assert {run.status for run in runs} == {RunStatus.INTERRUPTED}
        assert await harness.types(session_id, task.run_id) == [
            "RUN_STARTED",
            "TEXT_MESSAGE_START",
            "TEXT_MESSAGE_END",
            "RUN_FINISHED",
        ]
        for run_id in queued:
            assert await harness.types(session_id, run_id) == ["RUN_STARTED", "RUN_FINISHED"]
        assert [agent.closed for agent in agents] == [1]
        with pytest.raises(AlreadyEnded):
            await harness.backend.sessions.stop_session(CALLER, session_id)
        with pytest.raises(NotRunning):
            await harness.say(session_id, "too late")
        interruption = await harness.backend.runs.interrupt_session(CALLER, session_id)
        assert interruption.interrupted is False


async def test_workspace_and_conversation_are_there_again_when_the_session_starts(tmp_path: Path) -> None:
    histories: list[list[str]] = []

    async def remember(turn: Turn) -> AsyncIterator[bytes]:
        histories.append([message["content"] for message in turn.input["messages"]])
        await asyncio.to_thread((turn.workspace / "note").write_text, last_message(turn))
        async for each in echo(turn):
            yield each

    async with open_backend(tmp_path, remember) as harness:
        session_id = await harness.running("one")
        await harness.backend.sessions.stop_session(CALLER, session_id)
        await harness.status(session_id, SessionStatus.STOPPED)
        assert (await harness.backend.sessions.get_session(CALLER, session_id)).completed_at is not None
        started = await harness.backend.sessions.start_session(CALLER, session_id)
        assert (started.status, started.completed_at) == (SessionStatus.PENDING, None)
        with pytest.raises(AlreadyRunning):
            await harness.backend.sessions.start_session(CALLER, session_id)
        await harness.status(session_id, SessionStatus.RUNNING)
        note = tmp_path / "workspaces" / "demo" / session_id / "note"
        assert await asyncio.to_thread(note.read_text) == "one"
        await harness.ended(session_id, await harness.say(session_id, "two"))
        assert histories == [["one"], ["one", "one", "two"]]


async def test_the_task_runs_after_the_next_start_when_the_session_stopped_before(tmp_path: Path) -> None:
    async with open_backend(tmp_path, endless, max_running=1) as harness:
        first = await harness.create()
        await harness.status(first, SessionStatus.RUNNING)
        session_id = await harness.create("not yet")
        await harness.backend.sessions.stop_session(CALLER, session_id)
        await harness.status(session_id, SessionStatus.STOPPED)
        [task] = await harness.runs(session_id)
        assert task.status is RunStatus.QUEUED
        await harness.backend.sessions.start_session(CALLER, session_id)
        await harness.backend.sessions.stop_session(CALLER, first)
        await harness.active(session_id, task.run_id, at_least=1)


async def test_the_clone_is_broken_off_when_the_session_is_stopped_or_deleted(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        repos = [Repo(url=f"http://127.0.0.1:{server.getsockname()[1]}/stuck.git")]
        async with open_backend(tmp_path, git=GitAccess(("http",), ["127.0.0.1"])) as harness:
            stopped = await harness.create(repos=repos)
            first, _ = await loop.sock_accept(server)
            await harness.backend.sessions.stop_session(CALLER, stopped)
            await harness.status(stopped, SessionStatus.STOPPED)
            deleted = await harness.create(repos=repos)
            second, _ = await loop.sock_accept(server)
            await harness.backend.sessions.delete_session(CALLER, deleted)
            assert not await asyncio.to_thread((tmp_path / "workspaces" / "demo" / deleted).exists)
        first.close()
        second.close()


async def test_nothing_is_left_when_a_session_is_deleted_in_any_state(tmp_path: Path) -> None:
    async with open_backend(tmp_path, git=GitAccess(("file",))) as harness:
        running, stopped, stopping = await harness.running(), await harness.running(), await harness.running()
        pending = await harness.create()
        failed = await harness.create(repos=[Repo(url=f"{tmp_path.as_uri()}/nothing-here")])
        await harness.status(failed, SessionStatus.FAILED)
        await harness.backend.sessions.stop_session(CALLER, stopped)
        await harness.status(stopped, SessionStatus.STOPPED)
        await harness.backend.sessions.stop_session(CALLER, stopping)
        for session_id in (pending, stopping, running, stopped, failed):
            await harness.backend.sessions.delete_session(CALLER, session_id)
            with pytest.raises(SessionNotFound):
                await harness.backend.sessions.get_session(CALLER, session_id)
            assert not await asyncio.to_thread((tmp_path / "workspaces" / "demo" / session_id).exists)
            with pytest.raises(SessionNotFound):
                await harness.backend.sessions.delete_session(CALLER, session_id)
        assert await ids(harness) == []


async def test_a_deleted_session_is_gone_at_once_when_its_agent_does_not_let_go(tmp_path: Path) -> None:
    stubborn = Stubborn()
    async with open_backend(tmp_path, stubborn) as harness:
        session_id = await harness.create()
        [task] = await harness.runs(session_id)
        await harness.active(session_id, task.run_id, at_least=1)
        deleting = asyncio.create_task(harness.backend.sessions.delete_session(CALLER, session_id))

        async def gone() -> bool:
            return session_id not in await ids(harness)

        await until(gone)
        await deleting
        stubborn.free.set()
        assert not await asyncio.to_thread((tmp_path / "workspaces" / "demo" / session_id).exists)


async def test_no_error_is_logged_when_a_session_is_deleted_while_its_agent_talks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def chatter(_turn: Turn) -> AsyncIterator[bytes]:
        yield STARTED
        while True:
            yield event("CUSTOM", name="n", value=1)
            await asyncio.sleep(0)

    with capture_logs() as lines:
        async with open_backend(tmp_path, chatter) as harness:
            lines.clear()  # those of the start
            for _ in range(5):
                session_id = await harness.create()
                [task] = await harness.runs(session_id)
                await harness.active(session_id, task.run_id, at_least=2)
                await harness.backend.sessions.delete_session(CALLER, session_id)
    assert caplog.messages == []
    assert lines == []


async def test_the_session_still_gets_going_when_the_client_has_gone_meanwhile(harness: Harness) -> None:
    await harness.backend.agents.list_agents(CALLER)  # which are known for a moment then, so that the write comes first
    creating = asyncio.create_task(harness.backend.sessions.create_session(CALLER, SessionCreate(task="t")))
    await asyncio.sleep(0)
    creating.cancel()
    [session_id] = await until(lambda: ids(harness))
    await harness.status(session_id, SessionStatus.RUNNING)


async def test_reading_a_long_log_breaks_off_when_the_session_is_deleted_meanwhile(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "SLICE_BYTES", 1)
    session_id = await harness.running()
    answer = await harness.backend.output.get_session_output(
        CALLER, session_id, format=OutputFormat.EVENTS, run_id=None
    )
    assert isinstance(answer, StreamedBody)
    assert (await anext(answer.chunks)).startswith(b'{"session_id":')
    await harness.backend.sessions.delete_session(CALLER, session_id)
    with pytest.raises(SessionNotFound):
        await anext(answer.chunks)
