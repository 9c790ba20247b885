"""The request middleware around a small app, called as an HTTP server calls it."""

import asyncio
import contextlib
import re

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.testing import CapturingLogger

from app.errors import BackendUnavailable, BadRequest, Detail, NotFound, Unauthorized
from app.observability.tracing import Tracing
from app.server import error_response, health, middleware, request
from app.server.request import ClientDisconnected, RequestContext, read_body
from tests.support.asgi import Client, Response
from tests.support.collector import collecting

ORIGIN = "https://app.example.com"


async def hello(scope: Scope, _receive: Receive, send: Send) -> None:
    RequestContext.of(scope).operation_id = "say_hello"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def raising(error: BaseException) -> ASGIApp:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise error

    return app


def breaking(error: Exception) -> ASGIApp:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a part", "more_body": True})
        raise error

    return app


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> CapturingLogger:
    logger = CapturingLogger()
    for module in (middleware, error_response):
        monkeypatch.setattr(module, "log", logger)
    return logger


class TestHeadersOfEveryResponse:
    @pytest.mark.parametrize("app", [hello, raising(NotFound()), raising(ValueError())])
    async def test_no_cache_stores_it_and_no_browser_guesses_its_type(self, app: ASGIApp) -> None:
        response = await Client(app).get("/")

        assert response.header("cache-control") == "no-store"
        assert response.header("x-content-type-options") == "nosniff"

    async def test_a_response_may_say_itself_how_it_is_cached(self) -> None:
        async def cached(_scope: Scope, _receive: Receive, send: Send) -> None:
            headers = [(b"cache-control", b"max-age=60"), (b"X-Content-Type-Options", b"nosniff")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b""})

        response = await Client(cached).get("/")

        assert response.header("cache-control") == "max-age=60"
        assert [name.lower() for name, _ in response.messages[0]["headers"]].count(b"x-content-type-options") == 1


class TestRequestId:
    async def test_a_well_formed_id_is_used(self) -> None:
        response = await Client(hello).get("/", ("X-Request-ID", "a.B_c-9"))

        assert response.header("x-request-id") == "a.B_c-9"

    @pytest.mark.parametrize("given", [["a b"], ["x" * 129], [""], ["a", "b"], ["ä"], []])
    async def test_another_is_made_when_there_is_no_well_formed_one(self, given: list[str]) -> None:
        response = await Client(hello).get("/", *(("X-Request-ID", value) for value in given))

        assert re.fullmatch("[0-9a-f]{32}", response.header("x-request-id") or "")

    async def test_the_app_finds_it_in_the_context(self) -> None:
        seen = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(RequestContext.of(scope).request_id)
            await hello(scope, receive, send)

        await Client(app).get("/", ("X-Request-ID", "mine"))

        assert seen == ["mine"]


class TestErrors:
    async def test_an_error_is_json_with_its_headers_and_the_request_id(self) -> None:
        response = await Client(raising(Unauthorized())).get("/", ("X-Request-ID", "r1"))

        assert response.status == 401
        assert response.json == {
            "error": "A valid token is required: send it as Authorization: Bearer <token>.",
            "code": "unauthorized",
            "request_id": "r1",
        }
        assert response.header("www-authenticate") == "Bearer"
        assert response.header("content-type") == "application/json"
        assert response.header("content-length") == str(len(response.body))

    async def test_details_say_where_the_fault_is(self) -> None:
        response = await Client(raising(BadRequest(details=[Detail("body.task", "is required")]))).get("/")

        assert response.json["details"] == [{"location": "body.task", "message": "is required"}]

    async def test_an_unexpected_error_is_logged_and_hidden_from_the_client(self, log: CapturingLogger) -> None:
        error = RuntimeError("secret of /the/server")

        response = await Client(raising(error)).get("/", ("X-Request-ID", "r1"))

        assert response.status == 500
        assert response.json == {
            "error": "Internal server error; report the request_id if it happens again.",
            "code": "internal_error",
            "request_id": "r1",
        }
        assert log.calls[0].args == ("unexpected_error",)
        assert log.calls[0].kwargs["exc_info"] is error

    async def test_an_error_of_the_backend_is_logged_with_its_cause(self, log: CapturingLogger) -> None:
        causes = (
            (None, None),
            (
                ConnectionRefusedError(111, "Connection refused"),
                "ConnectionRefusedError: [Errno 111] Connection refused",
            ),
            (
                UnicodeDecodeError("utf-8", b"secret \xff", 7, 8, "invalid start byte"),
                "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 7: invalid start byte",
            ),
            (ValueError("x" * 1000), f"ValueError: {'x' * 488}"),
        )
        for cause, text in causes:
            log.calls.clear()
            error = BackendUnavailable()
            error.__cause__ = cause

            assert (await Client(raising(error)).get("/")).status == 502

            assert log.calls[0].args == ("request_failed",)
            assert log.calls[0].kwargs == {"code": "backend_unavailable"} | ({"cause": text} if text else {})

    async def test_a_lone_surrogate_in_a_message_is_replaced(self) -> None:
        response = await Client(raising(NotFound("odd \ud800 text"))).get("/")

        assert response.json["error"] == "odd ? text"

    async def test_the_connection_is_closed_when_the_response_has_started(self) -> None:
        error = BadRequest()

        with pytest.raises(BadRequest) as raised:
            await Client(breaking(error)).get("/")

        assert raised.value is error

    @pytest.mark.parametrize(("level", "lines"), [("debug", 1), ("info", 1), ("warning", 0), ("error", 0)])
    async def test_a_request_is_logged_at_the_level_info(self, level: str, lines: int, log: CapturingLogger) -> None:
        assert (await Client(hello, log_level=level).get("/")).status == 200
        assert [call.args for call in log.calls] == [("request",)] * lines

    async def test_nothing_is_sent_when_the_client_has_disconnected(self, log: CapturingLogger) -> None:
        response = await Client(raising(ClientDisconnected())).get("/")

        assert response.messages == []
        assert log.calls[-1].kwargs["status"] == 499

    @pytest.mark.parametrize("headers", [[], [("Content-Length", "5")]])
    async def test_a_request_that_the_stopping_server_cancels_gets_a_503(
        self, monkeypatch: pytest.MonkeyPatch, headers: list[tuple[str, str]]
    ) -> None:
        monkeypatch.setattr(request, "_SMALL_SECONDS", 3600)
        monkeypatch.setattr(request, "_LINGER_SECONDS", 3600)
        started = asyncio.Event()

        async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
            started.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(Client(app).request("POST", "/", *headers, body=None))
        await started.wait()
        task.cancel()

        response = await task
        assert (response.status, response.json["code"], response.header("retry-after")) == (503, "not_ready", "1")


class TestLimits:
    async def test_heads_over_64_kib_are_refused(self) -> None:
        client = Client(hello)
        assert (await client.get("/", ("X-Large", "x" * 65_000))).status == 200

        response = await client.get("/", ("X-Large", "x" * 65_536))

        assert (response.status, response.json["code"]) == (431, "headers_too_large")

    async def test_a_client_over_its_rate_gets_a_time_to_retry(self) -> None:
        client = Client(hello, rate_limit_rps=1, rate_limit_burst=1)
        await client.get("/")

        response = await client.get("/")

        assert (response.status, response.json["code"]) == (429, "rate_limited")
        assert response.header("retry-after") == "1"

    async def test_clients_of_a_trusted_proxy_are_distinguished(self) -> None:
        client = Client(hello, rate_limit_rps=1, rate_limit_burst=1, trusted_proxies="192.0.2.0/24")

        responses = [await client.get("/", ("X-Forwarded-For", f"203.0.113.{number}")) for number in (1, 2, 1)]

        assert [response.status for response in responses] == [200, 200, 429]

    async def test_a_forged_header_does_not_make_another_client(self) -> None:
        client = Client(hello, rate_limit_rps=1, rate_limit_burst=1)

        responses = [await client.get("/", ("X-Forwarded-For", f"203.0.113.{number}")) for number in (1, 2)]

        assert [response.status for response in responses] == [200, 429]

    @pytest.mark.parametrize("path", ["/health", "/ready", "/metrics"])
    async def test_probes_are_never_refused(self, path: str) -> None:
        client = Client(hello, rate_limit_rps=1, rate_limit_burst=1)

        assert [(await client.get(path)).status for _ in range(5)] == [200] * 5


class TestOperationalRoutes:
    @pytest.mark.parametrize(("path", "status"), [("/health", "ok"), ("/ready", "ready")])
    async def test_probes_get_a_fixed_text(self, path: str, status: str) -> None:
        response = await Client(hello).get(path)

        assert (response.status, response.body) == (200, b'{"status":"%s"}' % status.encode())

    async def test_not_ready_is_an_error_that_does_not_say_why(self) -> None:
        async def down() -> None:
            raise ConnectionError("http://internal:8080 refused")

        response = await Client(hello, ready=down).get("/ready")

        assert (response.status, response.json["code"]) == (503, "not_ready")
        assert b"internal" not in response.body

    async def test_a_backend_that_hangs_is_not_ready(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(health, "READY_SECONDS", 0.01)

        async def hang() -> None:
            await asyncio.Event().wait()

        assert (await Client(hello, ready=hang).get("/ready")).status == 503

    async def test_metrics_count_requests_of_known_and_unknown_operations(self) -> None:
        client = Client(hello)
        await client.get("/v1/hello")
        await client.get("/health")

        response = await client.get("/metrics")

        assert (response.header("content-type") or "").startswith("text/plain")
        lines = response.body.decode().splitlines()
        assert 'http_requests_total{method="GET",operation="say_hello",status="200"} 1.0' in lines
        assert 'http_requests_total{method="GET",operation="health",status="200"} 1.0' in lines

    @pytest.mark.parametrize("path", ["/health", "/ready", "/metrics"])
    async def test_other_methods_are_refused_with_all_that_are_allowed(self, path: str) -> None:
        response = await Client(hello).request("POST", path)

        assert (response.status, response.header("allow")) == (405, "GET, HEAD, OPTIONS")
        assert response.json["code"] == "method_not_allowed"

    @pytest.mark.parametrize("path", ["/health", "/ready", "/metrics"])
    async def test_options_get_the_methods(self, path: str) -> None:
        response = await Client(hello).request("OPTIONS", path)

        assert (response.status, response.header("allow"), response.body) == (204, "GET, HEAD, OPTIONS", b"")

    @pytest.mark.parametrize("path", ["/health", "/metrics"])
    async def test_head_is_served_as_get(self, path: str) -> None:
        response = await Client(hello).request("HEAD", path)

        assert response.status == 200

    async def test_a_path_below_an_operational_route_belongs_to_the_app(self) -> None:
        assert (await Client(hello).get("/health/")).body == b"hello"


class TestCors:
    def client(self, app: ASGIApp = hello) -> Client:
        return Client(app, cors_allowed_origins=f"{ORIGIN},https://*.example.org,http://localhost:3000")

    @pytest.mark.parametrize(
        "origin", [ORIGIN, "https://a.example.org", "https://a.b.example.org", "http://localhost:3000"]
    )
    async def test_a_listed_origin_may_read_the_response(self, origin: str) -> None:
        response = await self.client().get("/", ("Origin", origin))

        assert response.header("access-control-allow-origin") == origin
        assert response.header("access-control-allow-credentials") == "true"
        exposed = response.header("access-control-expose-headers") or ""
        assert set(exposed.split(", ")) == {"Location", "Retry-After", "X-Request-ID", "Idempotency-Replayed", "ETag"}
        assert response.header("vary") == "Origin, Accept-Encoding"

    async def test_a_listed_origin_may_read_an_error_too(self) -> None:
        response = await self.client(raising(RuntimeError())).get("/", ("Origin", ORIGIN))

        assert (response.status, response.header("access-control-allow-origin")) == (500, ORIGIN)

    @pytest.mark.parametrize(
        "origin",
        [
            "https://evil.example.com",
            "https://example.org",
            "http://a.example.org",
            "https://a.example.org.evil.com",
            "https://evil.com/.example.org",
            "https://evil.com#.example.org",
            "https://app.example.com:8443",
            "https://appxexample.com",
            "null",
        ],
    )
    async def test_an_unlisted_origin_is_served_without_cors_headers(self, origin: str) -> None:
        response = await self.client().get("/", ("Origin", origin))

        assert (response.status, response.body) == (200, b"hello")
        assert not any(name.startswith(b"access-control") for name, _ in response.messages[0]["headers"])
        assert response.header("vary") == "Origin, Accept-Encoding"

    async def test_a_response_varies_by_origin_and_coding_when_none_was_sent(self) -> None:
        assert (await self.client().get("/")).header("vary") == "Origin, Accept-Encoding"

    async def test_a_preflight_gets_what_is_allowed(self) -> None:
        sent = (
            ("Origin", ORIGIN),
            ("Access-Control-Request-Method", "PATCH"),
            ("Access-Control-Request-Headers", "authorization,x-ambient-project"),
        )

        response = await self.client().request("OPTIONS", "/v1/sessions", *sent)

        assert (response.status, response.body) == (204, b"")
        assert response.header("access-control-allow-origin") == ORIGIN
        methods = (response.header("access-control-allow-methods") or "").split(", ")
        assert {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"} <= set(methods)
        headers = (response.header("access-control-allow-headers") or "").split(", ")
        assert {"Authorization", "Content-Type", "X-Ambient-Project", "Idempotency-Key"} <= set(headers)

    async def test_a_preflight_is_not_an_error_when_it_asks_for_more(self) -> None:
        headers = (("Origin", ORIGIN), ("Access-Control-Request-Method", "BREW"))

        assert (await self.client().request("OPTIONS", "/", *headers)).status == 204

    async def test_a_preflight_from_an_unlisted_origin_is_a_plain_options_request(self) -> None:
        headers = (("Origin", "https://evil.com"), ("Access-Control-Request-Method", "GET"))

        response = await self.client().request("OPTIONS", "/health", *headers)

        assert (response.status, response.header("allow")) == (204, "GET, HEAD, OPTIONS")
        assert not any(name.startswith(b"access-control") for name, _ in response.messages[0]["headers"])


class TestAccessLog:
    async def test_each_request_is_one_line_without_its_query(self, log: CapturingLogger) -> None:
        await Client(hello).get("/v1/hello", ("Authorization", "Bearer t"), query=b"secret=1")

        [line] = log.calls
        duration = line.kwargs.pop("duration_ms")
        assert (line.method_name, line.args) == ("info", ("request",))
        assert duration >= 0
        assert line.kwargs == {
            "method": "GET",
            "path": "/v1/hello",
            "operation": "say_hello",
            "status": 200,
            "bytes": 5,
            "client": "192.0.2.1",
        }

    async def test_an_aborted_response_is_marked(self, log: CapturingLogger) -> None:
        with contextlib.suppress(RuntimeError):
            await Client(breaking(RuntimeError())).get("/")

        assert log.calls[-1].kwargs["incomplete"] is True
        assert (log.calls[-1].kwargs["status"], log.calls[-1].kwargs["bytes"]) == (200, 6)

    async def test_a_long_path_is_truncated(self, log: CapturingLogger) -> None:
        await Client(hello).get("/" + "a" * 10_000)

        assert len(log.calls[0].kwargs["path"]) == 256


async def test_the_body_passes_unchanged() -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(RequestContext.of(scope), receive, limit=100)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    response = await Client(echo).request("POST", "/", ("Content-Length", "4"), body=b"ping")

    assert response.body == b"ping"


async def lifespan(client: Client) -> list[str]:
    """Start and stop the app; what it sent."""
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    response = Response()

    async def receive() -> Message:
        return next(messages)

    await client.app({"type": "lifespan"}, receive, response.send)
    return [message["type"] for message in response.messages]


async def living(scope: Scope, receive: Receive, send: Send) -> None:
    """An app with a lifespan, and an operation that fails."""
    if scope["type"] == "lifespan":
        for _ in range(2):
            await send({"type": f"{(await receive())['type']}.complete"})
        return
    RequestContext.of(scope).operation_id = "get_session"
    raise NotFound


async def test_the_lifespan_reaches_the_app() -> None:
    assert await lifespan(Client(living)) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_the_spans_of_all_requests_have_been_sent_when_the_server_has_stopped() -> None:
    with collecting() as collector:
        client = Client(living, tracing=Tracing.exporting_to(collector.url))
        await client.get("/v1/sessions/s1", query=b"secret=1")
        await lifespan(client)

    [span] = collector.spans
    attributes = {item.key: item.value.string_value or item.value.int_value for item in span.attributes}
    assert span.name == "GET get_session"
    assert attributes == {
        "http.request.method": "GET",
        "url.path": "/v1/sessions/s1",
        "url.scheme": "http",
        "http.response.status_code": 404,
        "client.address": "192.0.2.1",
    }
