"""What operators see besides the logs: Prometheus metrics and, when asked for, OpenTelemetry traces."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The counters of one app; labels are operation ids, known methods and statuses: a bounded set."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Counter(
            "http_requests", "Requests answered.", ("operation", "method", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "Time from a request's head to the end of its answer.",
            ("operation",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._calls = Counter(
            "backend_calls", "Calls of the backend, by outcome.", ("operation", "outcome"), registry=self.registry
        )
        self._call_seconds = Histogram(
            "backend_call_duration_seconds",
            "Time that the backend took, by outcome.",
            ("operation", "outcome"),
            buckets=_SECONDS,
            registry=self.registry,
        )

        # Finding a child by its labels costs more than counting.
        self._request = lru_cache(maxsize=None)(self._request_metrics)
        self._call = lru_cache(maxsize=None)(self._call_metrics)

    def request(self, operation: str | None, method: str, status: int, seconds: float) -> None:
        """Count one answered request; `operation` is None where no operation was found."""
        count, duration = self._request(operation or "none", method if method in _METHODS else "other", status)
        count.inc()
        duration.observe(seconds)

    def observe(self, operation: str, seconds: float, outcome: str) -> None:
        """Count one finished call of the backend; both names come from a small fixed set."""
        count, duration = self._call(operation, outcome)
        count.inc()
        duration.observe(seconds)

    def _request_metrics(self, operation: str, method: str, status: int) -> tuple[Counter, Histogram]:
        return self._requests.labels(operation, method, str(status)), self._seconds.labels(operation)

    def _call_metrics(self, operation: str, outcome: str) -> tuple[Counter, Histogram]:
        return self._calls.labels(operation, outcome), self._call_seconds.labels(operation, outcome)

    def watch_sessions(self, count: Callable[[], float]) -> None:
        """Export `sessions_active`; `count` is called at each scrape and must not block."""
        Gauge("sessions_active", "Sessions that are running.", registry=self.registry).set_function(count)

    def export(self, accept: str) -> tuple[str, bytes]:
        """Content type and body for GET /metrics, in the text format that `accept` asks for."""
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self.registry)


class Tracing:
    """One server span per request, sent in batches to a collector as OTLP over HTTP."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint` is the collector's base URL."""
        # Only a server that traces pays for these imports.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - only to trace
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - as above
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - as above

        # A short time-out, since a collector that is away must not hold up the shutdown.
        exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", timeout=2)
        self._provider = TracerProvider(resource=Resource.create({"service.name": "ambient-public-api"}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer: Tracer = self._provider.get_tracer("ambient-public-api")

    @contextmanager
    def request(self, method: str, path: str, headers: Mapping[str, str]) -> Iterator["Span"]:
        """The span of one request, the current one while it is open; a `traceparent` in `headers` is its parent."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 - only to trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415 - as above

        context = TraceContextTextMapPropagator().extract(headers)
        attributes = {"http.request.method": method, "url.path": path, "url.scheme": "http"}
        with self.tracer.start_as_current_span(
            method, context, kind=SpanKind.SERVER, attributes=attributes, record_exception=False
        ) as span:
            yield span

    def close(self) -> None:
        """Send what is left; blocks for a few seconds at most."""
        self._provider.shutdown()
