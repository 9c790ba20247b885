"""OpenTelemetry traces: a server span for each request and a client span for each call of the platform.

The OpenTelemetry packages are the optional extra `otel`. This module is the only one that imports them, and it does so
when tracing is switched on: a server that does not trace needs neither the packages nor the time to load them.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_SERVICE = "ambient-public-api"
_EXPORT_TIMEOUT_SECONDS = 2  # short, because an unreachable collector must not delay the shutdown


class TracingNotInstalled(Exception):
    """OTEL_ENABLED=true needs the extra otel: pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"""


class Tracing:
    """Makes the spans of one server. The provider decides where they go."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace  # noqa: PLC0415 - optional
        from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415 - optional

        self._trace = trace
        self._provider = provider
        self._tracer = provider.get_tracer(_SERVICE)
        self._propagator = tracecontext.TraceContextTextMapPropagator()

    @classmethod
    def exporting_to(cls, collector: str) -> Self:
        """Send spans in batches to the collector at this base URL, OTLP over HTTP. Raises `TracingNotInstalled`."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - optional
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - optional
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - optional
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - optional
        except ImportError as error:
            raise TracingNotInstalled(TracingNotInstalled.__doc__) from error
        provider = TracerProvider(resource=Resource.create({"service.name": _SERVICE}))
        exporter = OTLPSpanExporter(endpoint=f"{collector}/v1/traces", timeout=_EXPORT_TIMEOUT_SECONDS)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider)

    @contextmanager
    def request(self, method: str, path: str, headers: Mapping[str, str]) -> Iterator["Span"]:
        """Open the server span of one request and make it current; a `traceparent` in `headers` is its parent."""
        with self._tracer.start_as_current_span(
            method,
            self._propagator.extract(headers),
            kind=self._trace.SpanKind.SERVER,
            attributes={"http.request.method": method, "url.path": path, "url.scheme": "http"},
            record_exception=False,
        ) as span:
            yield span

    def call(self, operation: str, method: str) -> AbstractContextManager["Span"]:
        """Open the client span of one call and make it current."""
        return self._trace.use_span(self.start_call(operation, method), end_on_exit=True)

    def start_call(self, operation: str, method: str) -> "Span":
        """Return a client span below the current one, without making it current. The caller ends it."""
        return self._tracer.start_span(
            f"{method} {operation}", kind=self._trace.SpanKind.CLIENT, attributes={"http.request.method": method}
        )

    def inject(self, headers: MutableMapping[str, str], span: "Span | None" = None) -> None:
        """Add the `traceparent` of `span`, by default the current one, to the headers of a call."""
        self._propagator.inject(headers, self._trace.set_span_in_context(span) if span else None)

    def close(self) -> None:
        """Send the remaining spans; blocks for a few seconds at most."""
        self._provider.shutdown()
