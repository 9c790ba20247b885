"""The platform's API: what is sent, and how responses and failures become results and errors."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.backends.ambient import log_reader
from app.backends.ambient.agents import MAX_AGENTS, MAX_MODELS
from app.backends.ambient.api import SECOND_GENERATION
from app.backends.ambient.backend import AmbientBackend, find_obstacle
from app.errors import (
    ApiError,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    Forbidden,
    MissingProject,
    NotReady,
    Unauthorized,
)
from app.models.caller import Caller, Credentials, Role
from app.models.output import LogPage, OutputFormat
from app.models.runs import MessageCreate
from app.models.sessions import SessionCreate, SessionUpdate
from app.observability.logs import REQUEST_ID
from app.observability.tracing import Tracing
from tests.support import platform_failures as failures
from tests.support.deadline import eventually
from tests.support.output import stored_events, transcript
from tests.support.platform import FakePlatform
from tests.support.platform_backend import CALLER, Clock, connected
from tests.support.server import free_port


async def test_request_carries_the_token_and_the_request_id_and_no_other_header_of_the_client(
    platform: FakePlatform,
) -> None:
    REQUEST_ID.set("req-1")
    async with connected(platform.url) as backend:
        await backend.sessions.get_session(CALLER, "s1")
    headers = platform.last("get").headers
    assert headers["authorization"] == "Bearer secret-token"
    assert headers["x-request-id"] == "req-1"
    assert set(headers) == {"host", "authorization", "x-request-id", "accept", "accept-encoding", "user-agent"}


async def test_cookie_is_not_sent_with_the_next_request(platform: FakePlatform) -> None:
    platform.next("get", failures.respond(200, {}, **{"Set-Cookie": "session=of-somebody; Path=/"}))
    async with connected(platform.url) as backend:
        await backend.sessions.get_session(CALLER, "s1")
        await backend.sessions.get_session(CALLER, "s1")
    assert "cookie" not in platform.last("get").headers


async def test_user_information_and_trailing_slash_of_the_url_are_ignored(platform: FakePlatform) -> None:
    async with connected(platform.url.replace("//", "//user:password@") + "/") as backend:
        assert (await backend.sessions.get_session(CALLER, "s1")).id == "s1"
    assert platform.last("get").headers["authorization"] == "Bearer secret-token"


async def test_redirect_is_a_502_and_not_followed(platform: FakePlatform) -> None:
    platform.always("get", failures.redirect)
    async with connected(platform.url) as backend:
        with pytest.raises(BackendUnavailable):
            await backend.sessions.get_session(CALLER, "s1")
    assert platform.operations() == ["get"]


@pytest.mark.parametrize(
    "reaction",
    [
        failures.disconnect,
        failures.truncate,
        failures.html,
        failures.respond(200, None),
        failures.respond(200, []),
        failures.respond(200, "x"),
        failures.respond(200, b""),
        failures.respond(200, b"[" * 100_000),
        failures.respond(200, b"\xff"),
        failures.respond(206, {}),
        failures.respond(204, b""),
        failures.respond(304, b""),
        failures.respond(600, {}),
    ],
)
async def test_unusable_response_is_a_502(platform: FakePlatform, reaction: failures.Reaction) -> None:
    platform.always("get", reaction)
    async with connected(platform.url) as backend:
        with pytest.raises(BackendUnavailable) as raised:
            await backend.sessions.get_session(CALLER, "s1")
    assert raised.value.message == "The backend is unreachable or its response was unusable; try again."


@pytest.mark.parametrize(("call", "status"), [("get", 200), ("get", 500), ("export", 500)])
async def test_endless_response_is_a_502_unless_it_is_a_log(platform: FakePlatform, call: str, status: int) -> None:
    endless = failures.Endless(b"x" * 10_000, status)
    platform.always(call, endless)
    async with connected(platform.url) as backend:
        with pytest.raises(BackendUnavailable):
            await stored_events(backend, CALLER, "s1")
        await asyncio.to_thread(eventually, lambda: endless.closed)


async def run_list(backend: AmbientBackend) -> None:
    await backend.runs.list_runs(CALLER, "s1", status=None)


async def whole_transcript(backend: AmbientBackend) -> None:
    await transcript(backend, CALLER, "s1")


async def stored_page(backend: AmbientBackend) -> None:
    page = LogPage(after=None, limit=10)
    await backend.output.get_session_output(CALLER, "s1", format=OutputFormat.EVENTS, run_id="r2", page=page)


async def first_page(backend: AmbientBackend) -> None:
    await backend.output.stream_session_events(CALLER, "s1", after=None, run_id=None, format=OutputFormat.EVENTS)


@pytest.mark.parametrize("read", [run_list, whole_transcript, stored_page, first_page])
async def test_endless_log_of_which_more_than_its_events_is_wanted_is_a_502(
    platform: FakePlatform, monkeypatch: pytest.MonkeyPatch, read: Callable[[AmbientBackend], Awaitable[None]]
) -> None:
    monkeypatch.setattr(log_reader, "MAX_LOG_BYTES", 2**20)
    endless = failures.Endless(b'{"type":"CUSTOM","name":"x","value":1,"runId":"r1"}')
    platform.always("export", endless)
    async with connected(platform.url) as backend:
        with pytest.raises(BackendUnavailable, match="too long"):
            await read(backend)
        await asyncio.to_thread(eventually, lambda: endless.closed)


async def test_response_without_bounds_is_a_502(platform: FakePlatform) -> None:
    platform.always("get", failures.respond(200, b'{"spec":{"displayName":"' + b"x" * 2**23 + b'"}}'))
    async with connected(platform.url) as backend:
        with pytest.raises(BackendUnavailable):
            await backend.sessions.get_session(CALLER, "s1")


async def test_list_of_agents_has_bounds(platform: FakePlatform) -> None:
    many = [{"id": f"a{number}", "provider": "p"} for number in range(20_000)]
    platform.always("runner_types", failures.respond(200, many))
    platform.always("models", failures.respond(200, {"models": many}))
    async with connected(platform.url) as backend:
        found = (await backend.agents.list_agents(CALLER)).items
    assert (len(found), len(found[0].models or [])) == (MAX_AGENTS, MAX_MODELS)


async def test_platform_that_cannot_be_reached_is_a_502() -> None:
    async with connected(f"http://127.0.0.1:{free_port()}") as backend:
        with pytest.raises(BackendUnavailable):
            await backend.sessions.get_session(CALLER, "s1")
        with pytest.raises(BackendUnavailable):
            await backend.ready()


async def test_backend_that_was_closed_is_a_502(platform: FakePlatform) -> None:
    async with connected(platform.url) as backend:
        await backend.close()
        with pytest.raises(BackendUnavailable):
            await backend.sessions.get_session(CALLER, "s1")


async def test_response_that_does_not_begin_is_a_504(platform: FakePlatform) -> None:
    platform.always("get", failures.hang)
    async with connected(platform.url, timeout=0.2) as backend:
        with pytest.raises(BackendTimeout):
            await backend.sessions.get_session(CALLER, "s1")


async def test_response_that_stalls_is_a_504(platform: FakePlatform) -> None:
    platform.always("export", failures.stall)
    async with connected(platform.url, timeout=0.2) as backend:
        with pytest.raises(BackendTimeout):
            await stored_events(backend, CALLER, "s1")


async def test_response_may_take_longer_than_the_timeout_while_bytes_arrive(platform: FakePlatform) -> None:
    platform.always("export", failures.trickle)
    async with connected(platform.url, timeout=1.0) as backend:
        assert await transcript(backend, CALLER, "s1") == []


@pytest.mark.parametrize("status", [400, 402, 405, 409, 413, 422, 429, 500, 502, 503, 504, 599])
async def test_error_has_the_status_and_text_of_the_platform(platform: FakePlatform, status: int) -> None:
    platform.always("get", failures.error(status, "Failed to get agentic session", phase="Running"))
    async with connected(platform.url) as backend:
        with pytest.raises(BackendError) as raised:
            await backend.sessions.get_session(CALLER, "s1")
    assert (raised.value.http_status, raised.value.message) == (status, "Failed to get agentic session")


@pytest.mark.parametrize(
    "body", [b"404 page not found", b"", {"error": 7}, {"error": {"message": "x"}}, {"message": "x"}, [], {"error": ""}]
)
async def test_error_says_request_failed_when_it_has_no_text(platform: FakePlatform, body: object) -> None:
    platform.always("list", failures.respond(404, body))
    async with connected(platform.url) as backend:
        with pytest.raises(BackendError) as raised:
            await backend.sessions.list_sessions(CALLER, limit=20, offset=0, search=None, status=(), label=())
    assert (raised.value.http_status, raised.value.message) == (404, "Request failed")


async def test_error_says_request_failed_when_its_text_reveals_internals(platform: FakePlatform) -> None:
    platform.always("get", failures.error(503, "Get http://10.0.0.7:6443/apis: connection refused"))
    async with connected(platform.url) as backend:
        with pytest.raises(BackendError) as raised:
            await backend.sessions.get_session(CALLER, "s1")
    assert (raised.value.http_status, raised.value.message) == (503, "Request failed")


async def test_platform_judges_token_and_role() -> None:
    with FakePlatform(tokens={"v": ("demo", "view"), "e": ("demo", "edit")}) as platform:
        platform.add_session("demo", "s1")
        async with connected(platform.url) as backend:
            with pytest.raises(Unauthorized, match="Token expired or invalid") as raised:
                await backend.sessions.get_session(Caller("bad", "demo"), "s1")
            assert raised.value.headers == {"WWW-Authenticate": "Bearer"}
            with pytest.raises(Forbidden, match="Unauthorized to access project"):
                await backend.sessions.get_session(Caller("v", "other"), "s1")
            with pytest.raises(Forbidden, match="Unauthorized"):
                await backend.runs.send_message(Caller("v", "demo"), "s1", MessageCreate(content="hi"))
            with pytest.raises(Forbidden):
                await backend.sessions.delete_session(Caller("e", "demo"), "s1")


WRITES: dict[str, Callable[[AmbientBackend, Caller], Awaitable[object]]] = {
    "create": lambda backend, caller: backend.sessions.create_session(caller, SessionCreate(task="Go")),
    "annotate": lambda backend, caller: backend.sessions.update_session(caller, "s1", SessionUpdate(labels={"a": "b"})),
    "rename": lambda backend, caller: backend.sessions.update_session(caller, "s1", SessionUpdate(display_name="N")),
    "stop": lambda backend, caller: backend.sessions.stop_session(caller, "s1"),
    "delete": lambda backend, caller: backend.sessions.delete_session(caller, "s1"),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_write_that_the_role_does_not_permit_is_a_403(
    write: Callable[[AmbientBackend, Caller], Awaitable[object]],
) -> None:
    with FakePlatform(tokens={"v": ("demo", "view")}) as platform:
        platform.add_session("demo", "s1")
        async with connected(platform.url) as backend:
            with pytest.raises(Forbidden):
                await write(backend, Caller("v", "demo"))


async def test_key_that_was_revoked_is_a_401_though_the_platform_does_not_know_it_yet(platform: FakePlatform) -> None:
    clock = platform.clock = Clock()
    async with connected(platform.url) as backend:
        for _ in range(2):
            await backend.sessions.get_session(CALLER, "s1")
            platform.revoked.add(CALLER.token)
            for call in (
                lambda: backend.sessions.get_session(CALLER, "s1"),
                lambda: backend.whoami(CALLER),
                lambda: backend.sessions.delete_session(CALLER, "s1"),
                lambda: backend.sessions.create_session(CALLER, SessionCreate(task="Go")),
            ):
                with pytest.raises(Unauthorized):
                    await call()
            platform.revoked.clear()
            clock.now += 31


async def test_role_that_was_taken_away_is_a_403_though_the_platform_does_not_know_it_yet() -> None:
    with FakePlatform(tokens={"v": ("demo", "view")}) as platform:
        platform.add_session("demo", "s1")
        async with connected(platform.url) as backend:
            await backend.sessions.get_session(Caller("v", "demo"), "s1")
            platform.tokens["v"] = ("other", "view")
            with pytest.raises(Forbidden):
                await backend.sessions.get_session(Caller("v", "demo"), "s1")


async def test_kubernetes_that_is_away_is_a_502(platform: FakePlatform) -> None:
    platform.tokens = {CALLER.token: ("demo", "admin")}
    async with connected(platform.url) as backend:
        for _ in range(2):
            platform.kubernetes_is_away = True
            for call in (
                lambda: backend.sessions.get_session(CALLER, "s1"),
                lambda: backend.sessions.stop_session(CALLER, "s1"),
                backend.ready,
            ):
                with pytest.raises(BackendUnavailable):
                    await call()
            platform.kubernetes_is_away = False
            await backend.sessions.get_session(CALLER, "s1")
            await backend.ready()


async def test_runner_that_refuses_the_platform_s_token_is_a_502(platform: FakePlatform) -> None:
    platform.always("interrupt", failures.error(401, '{"detail":"Unauthorized"}'))
    async with connected(platform.url) as backend:
        with pytest.raises(BackendUnavailable):
            await backend.runs.interrupt_session(CALLER, "s1")


async def test_authorize_returns_the_project_without_a_call(platform: FakePlatform) -> None:
    async with connected(platform.url) as backend:
        assert await backend.authorize(Credentials("t", "demo"), Role.ADMIN) == Caller("t", "demo")
        with pytest.raises(MissingProject):
            await backend.authorize(Credentials("t", None), Role.VIEW)
    assert platform.requests == []


async def test_ready_needs_no_token(platform: FakePlatform) -> None:
    async with connected(platform.url) as backend:
        await backend.ready()
    assert "authorization" not in platform.last("health").headers


async def test_second_generation_of_the_platform_is_not_ready_and_says_why(platform: FakePlatform) -> None:
    platform.second_generation = True
    async with connected(platform.url) as backend:
        with pytest.raises(NotReady, match="second generation"):
            await backend.ready()
    assert await find_obstacle(platform.url) == SECOND_GENERATION
    platform.second_generation = False
    assert await find_obstacle(platform.url) is None
    assert await find_obstacle(f"http://127.0.0.1:{free_port()}") is None


@pytest.mark.parametrize("reaction", [failures.error(503, "x"), failures.redirect, failures.disconnect, failures.hang])
async def test_ready_is_a_502_when_the_platform_is_not_healthy(
    platform: FakePlatform, reaction: failures.Reaction
) -> None:
    platform.always("health", reaction)
    async with connected(platform.url, timeout=0.5) as backend:
        with pytest.raises(BackendUnavailable):
            await backend.ready()


async def test_every_call_is_observed_with_its_outcome(platform: FakePlatform) -> None:
    seen: list[tuple[str, str]] = []

    def observe(operation: str, seconds: float, outcome: str) -> None:
        assert seconds >= 0
        seen.append((operation, outcome))

    platform.next(
        "get", failures.error(503, "x"), failures.html, failures.disconnect, failures.disconnect, failures.hang
    )
    async with connected(platform.url, timeout=2.0, observe=observe) as backend:
        for _ in range(4):
            with pytest.raises(ApiError):
                await backend.sessions.get_session(CALLER, "s1")
        await backend.sessions.get_session(CALLER, "s1")
    # The third call was sent twice: a GET whose pooled connection breaks is tried on a fresh one.
    assert seen == [
        ("get_session", "error"),
        ("get_session", "ok"),
        ("get_session", "unavailable"),
        ("get_session", "timeout"),
        ("get_session", "ok"),
        ("export", "ok"),
    ]


async def test_call_is_a_client_span_and_passes_its_trace_on(
    platform: FakePlatform,
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with connected(platform.url, tracing=Tracing(provider)) as backend:
        await backend.sessions.get_session(CALLER, "s1")
    span = exporter.get_finished_spans()[0]
    assert (span.name, span.kind) == ("GET get_session", trace.SpanKind.CLIENT)
    assert span.attributes == {"http.request.method": "GET", "http.response.status_code": 200}
    assert span.context is not None
    assert format(span.context.trace_id, "032x") in platform.last("get").headers["traceparent"]
