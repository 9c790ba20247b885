"""Sessions on the platform: list, create, read, delete, start and stop."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp import web

from app.backends.ambient import sessions
from app.backends.ambient.backend import AmbientBackend
from app.backends.ambient.pending_runs import STATE_AGE_SECONDS
from app.backends.ambient.runs import ACTIVITY_SECONDS
from app.backends.ambient.session_state import LOOK_SECONDS, RUNNER_GONE
from app.errors import (
    AlreadyEnded,
    AlreadyRunning,
    ApiError,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    NotRunning,
    NotSupported,
    SessionNotFound,
    SessionStopping,
    TooManyLabels,
    UnknownState,
)
from app.labels import MAX_LABELS
from app.models.caller import Caller
from app.models.runs import MessageCreate
from app.models.sessions import (
    Activity,
    CreatedSession,
    Repo,
    Session,
    SessionCreate,
    SessionPage,
    SessionStatus,
    SessionUpdate,
    Workflow,
)
from tests.support import platform_failures as failures
from tests.support.deadline import eventually
from tests.support.platform import FakePlatform
from tests.support.platform_backend import CALLER, LONG_AGO, OTHER_PROJECT, Clock, connected, live_logs, until


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with FakePlatform() as platform:
        yield platform


class TestListSessions:
    async def listed(self, backend: AmbientBackend, **chosen: Any) -> SessionPage:
        defaults: dict[str, Any] = {"limit": 20, "offset": 0, "search": None, "status": (), "label": ()}
        return await backend.sessions.list_sessions(CALLER, **(defaults | chosen))

    async def test_page_and_total_are_the_platforms(self, platform: FakePlatform, backend: AmbientBackend) -> None:
        for number in range(57):
            platform.add_session("demo", f"s{number}")
        page = await self.listed(backend, limit=10, offset=40)
        assert [session.id for session in page.items] == [f"s{number}" for number in range(16, 6, -1)]
        assert (page.total, page.limit, page.offset, page.has_more, page.next_offset) == (57, 10, 40, True, 50)
        last = await self.listed(backend, limit=10, offset=50)
        assert (len(last.items), last.has_more, last.next_offset) == (7, False, None)

    async def test_limit_and_offset_are_always_sent_and_a_search_if_there_is_one(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        await self.listed(backend)
        assert platform.last("list").query == {"limit": "20", "offset": "0"}
        await self.listed(backend, search="a&b=c d/é")
        assert platform.last("list").query == {"limit": "20", "offset": "0", "search": "a&b=c d/é"}

    async def test_filter_by_status_reads_all_pages(self, platform: FakePlatform, backend: AmbientBackend) -> None:
        for number in range(250):
            platform.add_session("demo", f"s{number}", phase="Failed" if number % 50 == 0 else "Running")
        platform.add_session("demo", "new", phase=None)
        filters = {"status": (SessionStatus.FAILED, SessionStatus.PENDING)}
        page = await self.listed(backend, limit=2, offset=1, **filters)
        assert [session.id for session in page.items] == ["s200", "s150"]
        assert (page.total, page.has_more, page.next_offset) == (6, True, 3)
        assert [request.query["offset"] for request in platform.requests] == ["0", "100", "200"]
        last = await self.listed(backend, limit=2, offset=5, **filters)
        assert ([session.id for session in last.items], last.has_more) == (["s0"], False)

    async def test_reading_all_pages_ends_when_the_platform_repeats_a_page(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        same = {"items": [{"metadata": {"name": "a"}}], "totalCount": 10**9, "hasMore": True}
        platform.always("list", failures.respond(200, same))
        page = await self.listed(backend, status=(SessionStatus.PENDING,))
        assert [session.id for session in page.items] == ["a"]
        assert len(platform.requests) == 2

    @pytest.mark.parametrize("status", [(), (SessionStatus.RUNNING,)])
    async def test_list_is_a_502_when_a_session_in_it_cannot_be_decoded(
        self, platform: FakePlatform, backend: AmbientBackend, status: tuple[SessionStatus, ...]
    ) -> None:
        platform.always("list", failures.respond(200, b'{"items":[{"name":"a"},{"name":1e400}]}'))
        with pytest.raises(BackendUnavailable):
            await backend.sessions.list_sessions(CALLER, limit=20, offset=0, search=None, status=status, label=())

    @pytest.mark.parametrize("body", [{}, {"items": None}, {"items": "x", "totalCount": "y", "hasMore": 1}])
    async def test_page_is_empty_when_the_response_has_no_list(
        self, platform: FakePlatform, backend: AmbientBackend, body: Any
    ) -> None:
        platform.always("list", failures.respond(200, body))
        page = await self.listed(backend)
        assert page == SessionPage(items=[], total=0, limit=20, offset=0, has_more=False)

    async def test_list_without_end_is_not_filtered(
        self, platform: FakePlatform, backend: AmbientBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def endless(request: web.Request) -> web.Response:
            offset = int(request.query["offset"])
            return web.json_response({"items": [{"name": f"s{offset}"}], "hasMore": True, "nextOffset": offset + 1})

        monkeypatch.setattr(sessions, "MAX_PAGES", 5)
        platform.always("list", endless)
        with pytest.raises(BackendUnavailable, match="too many sessions"):
            await self.listed(backend, label=("a=b",))
        assert platform.operations() == ["list"] * 5


class TestCreateSession:
    async def test_session_is_created_in_the_platforms_words_and_read_back(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        platform.model_manifest = True
        new = SessionCreate(
            task="Fix the bug",
            display_name="Bug fix",
            model="claude-sonnet-4-5",
            repos=[Repo(url="https://github.com/o/r")],
            active_workflow=Workflow(git_url="https://github.com/o/wf", branch="main", path="w"),
            environment_variables={"A": "b"},
        )
        made = (await backend.sessions.create_session(CALLER, new)).value
        assert platform.last("create").json() == {
            "initialPrompt": "Fix the bug",
            "displayName": "Bug fix",
            "llmSettings": {"model": "claude-sonnet-4-5"},
            "repos": [{"url": "https://github.com/o/r"}],
            "activeWorkflow": {"gitUrl": "https://github.com/o/wf", "branch": "main", "path": "w"},
            "environmentVariables": {"A": "b"},
        }
        assert made == CreatedSession(
            id=platform.last("get").session,
            status=SessionStatus.PENDING,
            agent="claude-agent-sdk",
            display_name="Bug fix",
            task="Fix the bug",
            model="claude-sonnet-4-5",
            repos=[Repo(url="https://github.com/o/r", branch="main")],
            created_at=made.created_at,
            message="Session created",
        )
        assert made.created_at is not None

    async def test_platform_chooses_the_model_when_none_is_given(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        platform.model_manifest = True
        with pytest.raises(BackendError, match="Model is not available for this runner type") as raised:
            await backend.sessions.create_session(CALLER, SessionCreate(task="Go"))
        assert raised.value.http_status == 400
        assert platform.last("create").json() == {"initialPrompt": "Go"}

    @pytest.mark.parametrize(
        "reaction",
        [failures.error(404, "Session not found"), failures.error(500, "x"), failures.html, failures.disconnect],
    )
    async def test_session_is_that_of_the_request_when_it_cannot_be_read_back(
        self, platform: FakePlatform, backend: AmbientBackend, reaction: failures.Reaction
    ) -> None:
        platform.always("get", reaction)
        new = SessionCreate(task="Go", display_name="N", model="m", repos=[Repo(url="https://x/y")])
        made = (await backend.sessions.create_session(CALLER, new)).value
        (name,) = platform.sessions["demo"]
        assert made == CreatedSession(
            id=name,
            status=SessionStatus.PENDING,
            task="Go",
            display_name="N",
            model="m",
            repos=[Repo(url="https://x/y")],
            message="Session created",
        )

    @pytest.mark.parametrize("response", [{}, {"name": None}, {"name": 7}, {"name": ""}, {"name": "../x"}, [], None])
    async def test_response_without_a_usable_name_is_a_502(
        self, platform: FakePlatform, backend: AmbientBackend, response: Any
    ) -> None:
        platform.always("create", failures.respond(201, response))
        with pytest.raises(BackendUnavailable):
            await backend.sessions.create_session(CALLER, SessionCreate(task="Go"))

    async def test_create_is_sent_once_when_the_platform_fails(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        platform.always("create", failures.error(500, "Failed to create agentic session"))
        with pytest.raises(BackendError, match="Failed to create agentic session"):
            await backend.sessions.create_session(CALLER, SessionCreate(task="Go"))
        assert platform.operations().count("create") == 1


class TestGetSession:
    async def test_session_is_returned_as_it_is_stored(self, platform: FakePlatform, backend: AmbientBackend) -> None:
        resource = platform.add_session("demo", "s1", initialPrompt="Go", repos=[{"url": "https://x/y", "branch": "b"}])
        assert await backend.sessions.get_session(CALLER, "s1") == Session(
            id="s1",
            status=SessionStatus.RUNNING,
            activity=Activity.WORKING,
            task="Go",
            model="sonnet",
            repos=[Repo(url="https://x/y", branch="b")],
            created_at=resource["metadata"]["creationTimestamp"],
        )

    async def test_session_without_a_phase_is_pending(self, platform: FakePlatform, backend: AmbientBackend) -> None:
        platform.add_session("demo", "s1", phase=None)
        assert (await backend.sessions.get_session(CALLER, "s1")).status is SessionStatus.PENDING

    async def test_session_is_not_found_when_it_is_in_another_project(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        platform.add_session("demo", "s1")
        with pytest.raises(SessionNotFound, match="Session not found"):
            await backend.sessions.get_session(OTHER_PROJECT, "s1")

    async def test_session_not_found_has_our_text_when_the_platform_has_none(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        platform.always("get", failures.respond(404, b"404 page not found", content_type="text/plain"))
        with pytest.raises(SessionNotFound, match=r"Session not found\."):
            await backend.sessions.get_session(CALLER, "s1")


class TestActivity:
    @pytest.fixture
    def clock(self, platform: FakePlatform) -> Clock:
        clock = platform.clock = Clock()
        return clock

    @pytest.fixture
    async def backend(self, platform: FakePlatform, clock: Clock) -> AsyncIterator[AmbientBackend]:
        platform.add_session("demo", "s1")
        platform.runner.append("s1", {"type": "RUN_STARTED", "runId": "r"}, {"type": "RUN_FINISHED", "runId": "r"})
        self.be_quiet(platform)
        async with connected(platform.url, clock=clock, poll_interval=0.05) as backend:
            yield backend

    def be_quiet(self, platform: FakePlatform) -> None:
        """Let the session have shown no sign of life for long."""
        platform.sessions["demo"]["s1"]["status"] |= dict.fromkeys(("startTime", "lastActivityTime"), LONG_AGO)

    async def activity(self, backend: AmbientBackend) -> Activity | None:
        return (await backend.sessions.get_session(CALLER, "s1")).activity

    async def test_log_is_not_read_while_this_server_knows_no_better_than_the_platform(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        assert await self.activity(backend) is Activity.IDLE
        assert platform.operations() == ["get"]

    async def test_run_that_another_server_has_sent_is_read_in_the_log(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        assert await self.activity(backend) is Activity.IDLE
        platform.runner.pace = "open"
        platform.runner.prompt("s1", "hello")
        assert platform.sessions["demo"]["s1"]["status"]["lastActivityTime"] != LONG_AGO
        assert await self.activity(backend) is Activity.WORKING

    async def test_run_that_was_just_accepted_or_ended_is_read_in_the_log(
        self, platform: FakePlatform, backend: AmbientBackend, clock: Clock
    ) -> None:
        assert await self.activity(backend) is Activity.IDLE
        platform.runner.pace = "open"
        await backend.runs.send_message(CALLER, "s1", MessageCreate(content="hello"))
        assert await self.activity(backend) is Activity.WORKING
        clock.now += STATE_AGE_SECONDS + 1
        exports = platform.operations().count("export")
        assert await self.activity(backend) is Activity.WORKING
        assert platform.operations().count("export") == exports
        platform.runner.finish("s1")
        assert (await backend.sessions.get_session(CALLER, "s1", wait=20)).activity is Activity.IDLE
        assert await self.activity(backend) is Activity.IDLE
        clock.now += STATE_AGE_SECONDS + 1
        self.be_quiet(platform)
        exports = platform.operations().count("export")
        assert await self.activity(backend) is Activity.IDLE
        assert platform.operations().count("export") == exports

    async def test_run_that_began_before_the_end_of_the_one_before_is_at_work(
        self, platform: FakePlatform, backend: AmbientBackend, clock: Clock
    ) -> None:
        platform.runner.pace = "wait"
        one, other = [
            (await backend.runs.send_message(CALLER, "s1", MessageCreate(content="hello"))).value.run_id
            for _ in range(2)
        ]
        for event in (("RUN_STARTED", one), ("RUN_STARTED", other), ("RUN_FINISHED", one)):
            platform.runner.append("s1", {"type": event[0], "runId": event[1], "threadId": "s1"})
        clock.now += STATE_AGE_SECONDS + 1
        assert platform.runner.agent_status("s1") == "idle"
        assert await self.activity(backend) is Activity.WORKING

    async def test_session_that_is_waited_for_settles_though_the_platform_s_state_is_old(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        platform.runner.append("s1", {"type": "RUN_STARTED", "runId": "of another server"})
        assert await self.activity(backend) is Activity.WORKING
        platform.runner.append("s1", {"type": "RUN_FINISHED", "runId": "of another server"})
        before = len(platform.requests)
        assert (await backend.sessions.get_session(CALLER, "s1", wait=20)).activity is Activity.IDLE
        assert platform.operations()[before:].count("get") < 6

    async def test_followed_log_is_not_read_for_the_activity(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        platform.runner.pace = "open"
        run_id = (await backend.runs.send_message(CALLER, "s1", MessageCreate(content="hello"))).value.run_id
        waiting = asyncio.create_task(backend.runs.get_run(CALLER, "s1", run_id, wait=20))
        await asyncio.to_thread(eventually, lambda: live_logs(backend).summaries(CALLER, "s1") is not None)
        platform.always("export", failures.error(500, "x"))
        assert await self.activity(backend) is Activity.WORKING
        platform.runner.finish("s1")
        await asyncio.wait([waiting])

    @pytest.fixture
    def unreported(self, platform: FakePlatform, backend: AmbientBackend) -> FakePlatform:  # noqa: ARG002 - adds it
        """Return a platform that does not report the state of the session's agent."""
        platform.sessions["demo"]["s1"]["status"]["agentStatus"] = None
        return platform

    async def test_log_is_read_every_few_seconds_if_the_platform_does_not_report_the_agents_state(
        self, unreported: FakePlatform, backend: AmbientBackend, clock: Clock
    ) -> None:
        for _ in range(3):
            assert await self.activity(backend) is Activity.IDLE
        assert unreported.operations() == ["get", "export", "get", "get"]
        clock.now += ACTIVITY_SECONDS + 1
        assert await self.activity(backend) is Activity.IDLE
        assert unreported.operations().count("export") == 2

    async def test_unreported_run_of_this_or_another_server_is_seen_at_once(
        self, unreported: FakePlatform, backend: AmbientBackend, clock: Clock
    ) -> None:
        assert await self.activity(backend) is Activity.IDLE
        unreported.runner.pace = "open"
        await backend.runs.send_message(CALLER, "s1", MessageCreate(content="hello"))
        assert await self.activity(backend) is Activity.WORKING
        unreported.runner.finish("s1")
        assert await self.activity(backend) is Activity.IDLE
        clock.now += STATE_AGE_SECONDS + 1
        self.be_quiet(unreported)
        assert await self.activity(backend) is Activity.IDLE
        unreported.runner.prompt("s1", "hello")
        assert await self.activity(backend) is Activity.WORKING

    async def test_activity_that_another_token_has_read_is_not_shown_to_one_that_may_not_read_the_log(
        self, unreported: FakePlatform, backend: AmbientBackend
    ) -> None:
        assert await self.activity(backend) is Activity.IDLE
        unreported.always("export", failures.error(403, "Unauthorized"))
        found = await backend.sessions.get_session(Caller(token="another-token", project="demo"), "s1")
        assert found.activity is None

    async def test_runner_that_died_is_told_if_the_platform_does_not_report_the_agents_state(
        self, unreported: FakePlatform, backend: AmbientBackend, clock: Clock
    ) -> None:
        unreported.runner.append("s1", {"type": "RUN_STARTED", "runId": "cut off"})
        self.be_quiet(unreported)
        unreported.without_runner.add("s1")
        assert await self.activity(backend) is Activity.WORKING
        for _ in range(3):
            clock.now += LOOK_SECONDS + 1
            found = await backend.sessions.get_session(CALLER, "s1")
        assert (found.activity, found.error) == (Activity.IDLE, RUNNER_GONE)

    async def test_runner_that_dies_while_its_session_is_waited_for_is_told(
        self, platform: FakePlatform, backend: AmbientBackend, clock: Clock
    ) -> None:
        platform.runner.append("s1", {"type": "RUN_STARTED", "runId": "cut off"})
        waiting = asyncio.create_task(backend.sessions.get_session(CALLER, "s1", wait=60))
        await until(lambda: platform.streams)
        self.be_quiet(platform)
        platform.without_runner.add("s1")
        platform.drop_streams()
        while not waiting.done():
            clock.now += LOOK_SECONDS + 1
            before = platform.operations().count("get")
            await until(lambda: waiting.done() or platform.operations().count("get") > before)  # noqa: B023
        found = await waiting
        assert (found.activity, found.error) == (Activity.IDLE, RUNNER_GONE)


class TestUpdateSession:
    async def test_half_of_a_change_is_named_in_the_error(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        platform.add_session("demo", "s1")
        platform.always("annotate", failures.error(503, "Try later."))
        change = SessionUpdate(display_name="New", labels={"a": "b"})
        with pytest.raises(BackendError) as raised:
            await backend.sessions.update_session(CALLER, "s1", change)
        assert raised.value.message == "Try later. Before that was changed: display_name."

    async def test_labels_that_are_there_count(self, platform: FakePlatform, backend: AmbientBackend) -> None:
        session = platform.add_session("demo", "s1")
        session["metadata"]["annotations"] |= {f"l{number}": "x" for number in range(MAX_LABELS)}
        await backend.sessions.update_session(CALLER, "s1", SessionUpdate(labels={"l1": "y"}))
        with pytest.raises(TooManyLabels):
            await backend.sessions.update_session(CALLER, "s1", SessionUpdate(labels={"new": "y"}))
        assert len(session["metadata"]["annotations"]) == MAX_LABELS

    async def test_changes_at_the_same_time_are_all_made(self, platform: FakePlatform, backend: AmbientBackend) -> None:
        session = platform.add_session("demo", "s1")
        platform.write_seconds = 0.01
        changes = [SessionUpdate(labels={f"l{number}": "x"}) for number in range(6)]
        await asyncio.gather(*[backend.sessions.update_session(CALLER, "s1", change) for change in changes])
        assert len(session["metadata"]["annotations"]) == len(changes)
        assert platform.conflicts


class TestDeleteSession:
    @pytest.mark.parametrize("phase", [None, "Pending", "Running", "Stopping", "Failed"])
    async def test_session_can_be_deleted_in_every_phase(
        self, platform: FakePlatform, backend: AmbientBackend, phase: str | None
    ) -> None:
        platform.add_session("demo", "s1", phase=phase)
        await backend.sessions.delete_session(CALLER, "s1")
        assert platform.sessions["demo"] == {}
        with pytest.raises(SessionNotFound):
            await backend.sessions.delete_session(CALLER, "s1")


START: list[tuple[str | None, type[ApiError]]] = [
    ("Running", AlreadyRunning),
    ("Pending", AlreadyRunning),
    ("Creating", AlreadyRunning),
    ("Stopping", SessionStopping),
    ("Hibernating", UnknownState),
    (None, UnknownState),
]
STOP: list[tuple[str | None, type[ApiError]]] = [
    ("Stopped", AlreadyEnded),
    ("Completed", AlreadyEnded),
    ("Failed", AlreadyEnded),
    ("Hibernating", UnknownState),
    (None, UnknownState),
]


class TestStartSession:
    @pytest.mark.parametrize("phase", ["Stopped", "Completed", "Failed"])
    async def test_started_session_is_pending_and_has_no_end(
        self, platform: FakePlatform, backend: AmbientBackend, phase: str
    ) -> None:
        ended = {"completionTime": "2026-03-09T13:00:00Z", "conditions": [{"type": "Ready", "message": "No"}]}
        platform.add_session("demo", "s1", phase=phase, status=ended, initialPrompt="Go")
        started = await backend.sessions.start_session(CALLER, "s1")
        assert (started.status, started.completed_at, started.error) == (SessionStatus.PENDING, None, None)
        assert (started.id, started.task) == ("s1", "Go")
        platform.settle()
        assert (await backend.sessions.get_session(CALLER, "s1")).status is SessionStatus.RUNNING

    @pytest.mark.parametrize(("phase", "refusal"), START)
    async def test_start_is_refused_in_other_phases(
        self, platform: FakePlatform, backend: AmbientBackend, phase: str | None, refusal: type[ApiError]
    ) -> None:
        platform.add_session("demo", "s1", phase=phase)
        with pytest.raises(refusal):
            await backend.sessions.start_session(CALLER, "s1")
        assert platform.operations() == ["get"]

    async def test_start_is_tried_again_after_a_500(self, platform: FakePlatform, backend: AmbientBackend) -> None:
        platform.add_session("demo", "s1", phase="Stopped")
        platform.next("start", failures.error(500, "Failed to update session"))
        assert (await backend.sessions.start_session(CALLER, "s1")).status is SessionStatus.PENDING
        assert platform.operations().count("start") == 2

    async def test_start_fails_after_the_fifth_500(self, platform: FakePlatform, backend: AmbientBackend) -> None:
        platform.add_session("demo", "s1", phase="Stopped")
        platform.always("start", failures.error(500, "Failed to update session"))
        with pytest.raises(BackendError, match="Failed to update session"):
            await backend.sessions.start_session(CALLER, "s1")
        assert platform.operations().count("start") == 5

    @pytest.mark.parametrize(
        "reaction", [failures.error(503, "x"), failures.disconnect, failures.html, failures.redirect]
    )
    async def test_start_is_not_tried_again_after_other_failures(
        self, platform: FakePlatform, backend: AmbientBackend, reaction: failures.Reaction
    ) -> None:
        platform.add_session("demo", "s1", phase="Stopped")
        platform.always("start", reaction)
        with pytest.raises((BackendError, BackendUnavailable)):
            await backend.sessions.start_session(CALLER, "s1")
        assert platform.operations() == ["get", "start"]

    async def test_session_is_not_found_when_the_project_has_none(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        platform.add_session("demo", "s1", phase="Stopped")
        for transition in (backend.sessions.start_session, backend.sessions.stop_session):
            with pytest.raises(SessionNotFound):
                await transition(OTHER_PROJECT, "s1")
        assert platform.operations() == ["get", "get"]


class TestStopSession:
    @pytest.mark.parametrize("phase", ["Running", "Pending", "Creating", "Stopping"])
    async def test_stopped_session_is_stopping(
        self, platform: FakePlatform, backend: AmbientBackend, phase: str
    ) -> None:
        platform.add_session("demo", "s1", phase=phase)
        assert (await backend.sessions.stop_session(CALLER, "s1")).status is SessionStatus.STOPPING
        async with asyncio.timeout(10):
            while (await backend.sessions.get_session(CALLER, "s1")).status is not SessionStatus.STOPPED:
                platform.settle()
        assert (await backend.sessions.get_session(CALLER, "s1")).completed_at is not None

    @pytest.mark.parametrize(("phase", "refusal"), STOP)
    async def test_stop_is_refused_in_other_phases(
        self, platform: FakePlatform, backend: AmbientBackend, phase: str | None, refusal: type[ApiError]
    ) -> None:
        platform.add_session("demo", "s1", phase=phase)
        with pytest.raises(refusal):
            await backend.sessions.stop_session(CALLER, "s1")
        assert platform.operations() == ["get"]

    async def test_session_is_not_found_when_it_was_deleted_meanwhile(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        platform.add_session("demo", "s1")
        gone = {"message": "Session no longer exists (already deleted)"}
        platform.next("stop", failures.respond(200, gone), failures.error(404, "Session not found"))
        for _ in range(2):
            with pytest.raises(SessionNotFound):
                await backend.sessions.stop_session(CALLER, "s1")

    async def test_stop_is_tried_once_more_after_a_500(self, platform: FakePlatform, backend: AmbientBackend) -> None:
        platform.add_session("demo", "s1")
        platform.next("stop", failures.error(500, "Failed to update session"))
        assert (await backend.sessions.stop_session(CALLER, "s1")).status is SessionStatus.STOPPING


async def test_new_session_without_a_phase_refuses_start_stop_and_messages(
    backend: AmbientBackend,
) -> None:
    made = (await backend.sessions.create_session(CALLER, SessionCreate(task="Go"))).value
    with pytest.raises(UnknownState):
        await backend.sessions.start_session(CALLER, made.id)
    with pytest.raises(UnknownState):
        await backend.sessions.stop_session(CALLER, made.id)
    with pytest.raises(NotRunning):
        await backend.runs.send_message(CALLER, made.id, MessageCreate(content="hi"))


async def test_session_starts_runs_and_stops_with_an_automatic_platform() -> None:
    with FakePlatform(auto=True) as platform:
        async with connected(platform.url) as backend:
            made = (await backend.sessions.create_session(CALLER, SessionCreate(task="Go"))).value
            assert (await backend.sessions.get_session(CALLER, made.id)).status is SessionStatus.RUNNING
            (run,) = (await backend.runs.list_runs(CALLER, made.id, status=None)).runs
            assert run.user_message == "Go"
            await backend.sessions.stop_session(CALLER, made.id)
            assert (await backend.sessions.get_session(CALLER, made.id)).status is SessionStatus.STOPPED
            await backend.sessions.start_session(CALLER, made.id)
            assert (await backend.sessions.get_session(CALLER, made.id)).status is SessionStatus.RUNNING


async def test_every_operation_is_a_504_when_the_platform_does_not_respond_in_time(platform: FakePlatform) -> None:
    for operation in ("list", "create", "get", "delete"):
        platform.always(operation, failures.hang)
    async with connected(platform.url, timeout=0.2) as backend:
        for call in (
            backend.sessions.list_sessions(CALLER, limit=20, offset=0, search=None, status=(), label=()),
            backend.sessions.create_session(CALLER, SessionCreate(task="Go")),
            backend.sessions.get_session(CALLER, "s1"),
            backend.sessions.delete_session(CALLER, "s1"),
            backend.sessions.start_session(CALLER, "s1"),
            backend.runs.interrupt_session(CALLER, "s1"),
            backend.runs.list_runs(CALLER, "s1", status=None),
        ):
            with pytest.raises(BackendTimeout):
                await call


async def test_change_that_meets_other_writers_is_tried_again(platform: FakePlatform, backend: AmbientBackend) -> None:
    platform.add_session("demo", "s1")
    platform.next("rename", *[failures.error(500, "Failed to update display name")] * 3)
    platform.next("annotate", *[failures.error(500, "Failed to patch session")] * 3)
    changed = await backend.sessions.update_session(CALLER, "s1", SessionUpdate(display_name="New", labels={"a": "b"}))
    assert (changed.display_name, changed.labels) == ("New", {"a": "b"})


@pytest.mark.parametrize(
    ("phase", "desired", "status"),
    [
        ("Running", "Stopped", "stopping"),
        ("Running", "Running", "running"),
        ("Stopped", "Running", "pending"),
        ("Failed", "Running", "pending"),
        ("Stopped", "Stopped", "stopped"),
        ("Creating", "Running", "pending"),
    ],
)
async def test_status_has_what_the_platform_is_about_to_do(
    platform: FakePlatform, backend: AmbientBackend, phase: str, desired: str, status: str
) -> None:
    resource = platform.add_session("demo", "s1", phase=phase)
    resource["metadata"]["annotations"]["ambient-code.io/desired-phase"] = desired
    assert (await backend.sessions.get_session(CALLER, "s1")).status == status


@pytest.mark.parametrize(
    "new",
    [SessionCreate(task="x" * 122_881), SessionCreate(task="x", environment_variables={"A": "é" * 61_441})],
    ids=["task", "variable"],
)
async def test_text_that_no_container_takes_is_not_supported(
    platform: FakePlatform, backend: AmbientBackend, new: SessionCreate
) -> None:
    with pytest.raises(NotSupported):
        await backend.sessions.create_session(CALLER, new)
    assert platform.operations() == []
