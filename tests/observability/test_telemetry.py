"""Logs without secrets, metrics with bounded labels, traces that reach a collector."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace

from app.observability.logs import redact
from app.observability.telemetry import Metrics, Tracing
from tests.support.collector import Collector, collecting


def logged(program: str, level: str = "info") -> list[dict[str, Any]]:
    """The lines that a process writes whose logs are configured at `level`."""
    start = f"""
import logging, structlog
from app.observability import logs
logs.configure({level!r})
log = structlog.get_logger()
"""
    command = [sys.executable, "-c", start + textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603 - our own code
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


class TestLogs:
    def test_every_line_is_json_whoever_writes_it(self) -> None:
        lines = logged("""
            structlog.contextvars.bind_contextvars(request_id="r1")
            log.info("ours", size=3)
            logging.getLogger("uvicorn.error").warning("theirs %s", "too")
        """)

        ours, theirs = ({name: line[name] for name in line if name != "time"} for line in lines)
        assert ours == {"event": "ours", "size": 3, "level": "info", "request_id": "r1"}
        assert theirs == {"event": "theirs too", "logger": "uvicorn.error", "level": "warning", "request_id": "r1"}
        assert all(line["time"].endswith("Z") for line in lines)

    def test_a_line_is_ascii_whatever_it_tells(self) -> None:
        program = r"""
            log.info("Gr\xfc\xdfe \ud83d", whom={"name": "J\xfcrgen"}, what=object)
        """
        [line] = logged(program)

        assert (line["event"], line["whom"], line["what"]) == (
            "Gr\xfc\xdfe \ud83d",
            {"name": "J\xfcrgen"},
            repr(object),
        )

    def test_less_severe_lines_are_left_out(self) -> None:
        lines = logged("log.info('a'); logging.info('b'); log.warning('c'); logging.warning('d')", level="warning")

        assert [line["event"] for line in lines] == ["c", "d"]

    def test_libraries_do_not_chatter_when_the_level_is_debug(self) -> None:
        lines = logged("log.debug('ours'); logging.debug('theirs')", level="debug")

        assert [line["event"] for line in lines] == ["ours"]

    def test_a_stack_is_one_line_without_its_secrets(self) -> None:
        [line] = logged("""
            try:
                raise ValueError("Bearer hunter2")
            except ValueError:
                log.exception("broken", nested={"url": "https://me:hunter2@example.com"})
        """)

        assert "ValueError: Bearer ***" in line["exception"]
        assert "hunter2" not in json.dumps(line)

    def test_a_lone_surrogate_does_not_break_the_line(self) -> None:
        assert logged("log.info('odd', path=chr(0xd800))")[0]["path"] == "\ud800"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("key ak_3q2-7wABCDEF_x end", "key *** end"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
        ("authorization: bearer abc", "authorization: bearer ***"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln", "***"),
        ("https://me:pass@example.com/x", "https://***@example.com/x"),
        ("ssh://git@example.com/x", "ssh://***@example.com/x"),
        ("ghp_0123456789abcdefghij", "***"),
        ("github_pat_0123456789abcdefghij", "***"),
        ("glpat-0123456789abcdefghij", "***"),
        ("a key sk-0123456789abcdefghij", "a key ***"),
        ("?api_key=abc", "?api_key=***"),
        ("?access_token=abc", "?access_token=***"),
        ('{"Authorization": "Basic abc"}', '{"Authorization": "***"}'),
        ('{"cookie": "a=b"}', '{"cookie": "***"}'),
        ("/v1/sessions?token=abc&limit=3", "/v1/sessions?token=***&limit=3"),
        ('{"password": "abc", "n": 1}', '{"password": "***", "n": 1}'),
        ("a task about tokens, 3@home", "a task about tokens, 3@home"),
    ],
)
def test_secrets_are_taken_out_of_what_is_logged(text: str, clean: str) -> None:
    assert redact(text) == clean


class TestMetrics:
    def exported(self, metrics: Metrics) -> list[str]:
        return metrics.export("")[1].decode().splitlines()

    def test_requests_are_counted_by_operation_method_and_status(self) -> None:
        metrics = Metrics()
        metrics.request("get_session", "GET", 200, 0.003)
        metrics.request("get_session", "GET", 200, 0.2)

        lines = self.exported(metrics)

        assert 'http_requests_total{method="GET",operation="get_session",status="200"} 2.0' in lines
        assert 'http_request_duration_seconds_bucket{le="0.005",operation="get_session"} 1.0' in lines
        assert 'http_request_duration_seconds_count{operation="get_session"} 2.0' in lines

    def test_labels_stay_bounded_when_clients_send_anything(self) -> None:
        metrics = Metrics()
        metrics.request(None, "BREW", 404, 0.1)

        assert 'http_requests_total{method="other",operation="none",status="404"} 1.0' in self.exported(metrics)

    def test_backend_calls_are_counted_by_outcome(self) -> None:
        metrics = Metrics()
        metrics.observe("create_run", 0.1, "backend_timeout")

        lines = self.exported(metrics)

        assert 'backend_calls_total{operation="create_run",outcome="backend_timeout"} 1.0' in lines
        assert 'backend_call_duration_seconds_count{operation="create_run",outcome="backend_timeout"} 1.0' in lines

    def test_active_sessions_are_read_at_each_scrape(self) -> None:
        metrics, sessions = Metrics(), [3]
        metrics.watch_sessions(lambda: sessions[0])
        before = self.exported(metrics)
        sessions[0] = 5

        assert "sessions_active 3.0" in before
        assert "sessions_active 5.0" in self.exported(metrics)

    def test_two_apps_in_one_process_count_for_themselves(self) -> None:
        first, second = Metrics(), Metrics()
        first.request("get_session", "GET", 200, 0.1)

        assert not any("get_session" in line for line in self.exported(second))

    def test_the_format_follows_the_accept_header(self) -> None:
        content_type, body = Metrics().export("application/openmetrics-text; version=1.0.0")

        assert content_type.startswith("application/openmetrics-text")
        assert body.endswith(b"# EOF\n")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


class TestTracing:
    def test_a_request_is_a_server_span_below_the_callers(self, collector: Collector) -> None:
        tracing = Tracing(collector.url)
        parent = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}

        with tracing.request("GET", "/v1/sessions", parent) as span:
            assert trace.get_current_span() is span
        tracing.close()

        [sent] = collector.spans
        assert sent.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
        assert sent.parent_span_id.hex() == "b7ad6b7169203331"
        attributes = {item.key: item.value.string_value for item in sent.attributes}
        assert attributes == {"http.request.method": "GET", "url.path": "/v1/sessions", "url.scheme": "http"}
        assert sent.kind == sent.SPAN_KIND_SERVER
        assert collector.services == {"ambient-public-api"}

    def test_a_trace_begins_here_when_the_caller_has_none(self, collector: Collector) -> None:
        tracing = Tracing(collector.url)

        with tracing.request("GET", "/", {"traceparent": "nonsense"}):
            pass
        tracing.close()

        assert collector.spans[0].parent_span_id == b""
