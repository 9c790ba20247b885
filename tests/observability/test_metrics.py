"""Metrics count requests and backend calls, with labels from bounded sets."""

import asyncio

from app.observability.metrics import Metrics


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

    async def count() -> int:
        return sessions[0]

    metrics.watch_sessions(count)
    before = exported(metrics)
    sessions[0] = 5

    assert "sessions_active 3.0" in before
    assert "sessions_active 5.0" in exported(metrics)


def test_two_apps_in_one_process_count_for_themselves() -> None:
    first, second = Metrics(), Metrics()
    first.request("get_session", "GET", 200, 0.1)

    assert not any("get_session" in line for line in exported(second))


def test_the_format_follows_the_accept_header() -> None:
    content_type, body = asyncio.run(Metrics().export("application/openmetrics-text; version=1.0.0"))

    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
