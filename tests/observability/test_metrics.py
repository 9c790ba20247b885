"""Metrics count requests and backend calls, with labels from bounded sets."""

import asyncio
import re

from app.errors import StorageUnavailable
from app.observability.metrics import CLUSTER_METRICS, SESSION_METRICS, WORKER_METRICS, Metrics
from tests.support.server import ROOT


def exported(metrics: Metrics) -> list[str]:
    return asyncio.run(metrics.export(""))[1].decode().splitlines()


def test_requests_are_counted_by_operation_method_and_status() -> None:
    metrics = Metrics()
    metrics.request("get_session", "GET", 200, 0.003)
    metrics.request("get_session", "GET", 200, 0.2)

    lines = exported(metrics)

    assert 'http_requests_total{method="GET",operation="get_session",status="200"} 2.0' in lines
    assert 'http_request_duration_seconds_bucket{le="0.005",operation="get_session"} 1.0' in lines
    assert 'http_request_duration_seconds_count{operation="get_session"} 2.0' in lines


def test_labels_stay_bounded_when_clients_send_anything() -> None:
    metrics = Metrics()
    metrics.request(None, "BREW", 404, 0.1)

    assert 'http_requests_total{method="other",operation="none",status="404"} 1.0' in exported(metrics)


def test_backend_calls_are_counted_by_outcome() -> None:
    metrics = Metrics()
    metrics.observe("create_run", 0.1, "backend_timeout")

    lines = exported(metrics)

    assert 'backend_calls_total{operation="create_run",outcome="backend_timeout"} 1.0' in lines
    assert 'backend_call_duration_seconds_count{operation="create_run",outcome="backend_timeout"} 1.0' in lines


def test_active_sessions_are_read_at_each_scrape() -> None:
    metrics, sessions = Metrics(), [3]

    async def count() -> tuple[int, int, int]:
        return sessions[0], 2000, 70

    metrics.watch_group(SESSION_METRICS, count)
    before = exported(metrics)
    sessions[0] = 5

    assert "sessions_active 3.0" in before
    after = {"sessions_active 5.0", "sessions_stored_bytes 2000.0", "sessions_workspace_bytes 70.0"}
    assert after <= set(exported(metrics))


def test_what_cannot_be_read_is_absent_and_all_else_is_there() -> None:
    metrics, figures = Metrics(), [(2.0, 7.0)]

    async def read() -> tuple[float, float]:
        if not figures:
            raise StorageUnavailable
        return figures.pop()

    metrics.watch_group(WORKER_METRICS, read)
    lines = exported(metrics)
    assert {"sessions_owned 2.0", "# TYPE fenced_writes_total counter", "fenced_writes_total 7.0"} <= set(lines)
    lines = exported(metrics)
    assert "sessions_owned" not in "".join(lines)
    assert "# TYPE http_requests_total counter" in lines


def test_the_readme_has_all_metrics() -> None:
    text = (ROOT / "README.md").read_text().partition("**Monitoring.**")[2].partition("**Security.**")[0]
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (.*) \|$", text, re.MULTILINE))
    suffixes = {"counter": "_total"}
    plain = {each.name + suffixes.get(each.type, ""): each.documentation for each in Metrics().registry.collect()}
    own = {name: meaning for name, meaning in plain.items() if not name.startswith(("python_", "process_"))}
    assert (own | dict(SESSION_METRICS) | dict(CLUSTER_METRICS) | dict(WORKER_METRICS)).items() <= rows.items()


def test_two_apps_in_one_process_count_for_themselves() -> None:
    first, second = Metrics(), Metrics()
    first.request("get_session", "GET", 200, 0.1)

    assert not any("get_session" in line for line in exported(second))


def test_the_format_follows_the_accept_header() -> None:
    content_type, body = asyncio.run(Metrics().export("application/openmetrics-text; version=1.0.0"))

    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
