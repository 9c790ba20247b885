"""Traces reach a collector, and continue those of the caller."""

from collections.abc import Iterator

import pytest
from opentelemetry import trace

from app.observability.tracing import Tracing
from tests.support.collector import Collector, collecting


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def test_a_request_is_a_server_span_below_the_callers(collector: Collector) -> None:
    tracing = Tracing.exporting_to(collector.url)
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


def test_a_trace_begins_here_when_the_caller_has_none(collector: Collector) -> None:
    tracing = Tracing.exporting_to(collector.url)

    with tracing.request("GET", "/", {"traceparent": "nonsense"}):
        pass
    tracing.close()

    assert collector.spans[0].parent_span_id == b""
