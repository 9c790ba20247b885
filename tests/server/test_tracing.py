"""One trace from the client through the server to the platform."""

from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app.factory import create_app
from tests.support.collector import collecting
from tests.support.contract import Sent, call, lifespan, settings
from tests.support.platform import FakePlatform


@pytest.mark.parametrize(
    ("path", "operation"), [("/v1/sessions/s1", "get"), ("/v1/sessions/s1/output?format=events", "export")]
)
async def test_a_call_of_the_platform_is_a_span_below_its_request(tmp_path: Path, path: str, operation: str) -> None:
    with FakePlatform() as platform, collecting() as collector:
        platform.add_session("demo", "s1")
        traced = {"OTEL_ENABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        app = create_app(settings(tmp_path, BACKEND_URL=platform.url, **traced))
        async with lifespan(app):
            response = await call(app, Sent("GET", path))

    [request] = [span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER]
    *_, backend = [span for span in collector.spans if span.kind == Span.SPAN_KIND_CLIENT]
    assert response.status == 200
    assert (backend.trace_id, backend.parent_span_id) == (request.trace_id, request.span_id)
    assert request.trace_id.hex() in platform.last(operation).headers["traceparent"]
