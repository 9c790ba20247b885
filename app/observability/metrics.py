"""Prometheus metrics of the server: requests, backend calls and running sessions."""

from collections.abc import Awaitable, Callable
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

Observe = Callable[[str, float, str], None]
"""Reports one finished backend call, from any thread: operation, seconds, and the outcome.

The outcome is `ok`, `error`, `timeout`, `unavailable` or `cancelled`.
"""

_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The metrics of one app, in a registry of their own.

    Every label has a small fixed set of values: operation ids, known methods, statuses and outcomes.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Counter(
            "http_requests", "Finished requests.", ("operation", "method", "status"), registry=self.registry
        )
        self._request_seconds = Histogram(
            "http_request_duration_seconds",
            "Time from a request's head to the end of its response.",
            ("operation",),
            buckets=_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self._calls = Counter(
            "backend_calls", "Finished backend calls.", ("operation", "outcome"), registry=self.registry
        )
        self._call_seconds = Histogram(
            "backend_call_duration_seconds",
            "Duration of backend calls.",
            ("operation", "outcome"),
            buckets=_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self._count_sessions: Callable[[], Awaitable[float]] | None = None

        # Finding a child metric by its labels costs more than counting, so the children are remembered.
        self._request = lru_cache(maxsize=None)(self._request_metrics)
        self._call = lru_cache(maxsize=None)(self._call_metrics)

    def request(self, operation: str | None, method: str, status: int, seconds: float) -> None:
        """Count one finished request; `operation` is None if the request matched no operation."""
        count, duration = self._request(operation or "none", method if method in _METHODS else "other", status)
        count.inc()
        duration.observe(seconds)

    def observe(self, operation: str, seconds: float, outcome: str) -> None:
        """Count one finished backend call, as described at `Observe`."""
        count, duration = self._call(operation, outcome)
        count.inc()
        duration.observe(seconds)

    def watch_sessions(self, count: Callable[[], Awaitable[float]]) -> None:
        """Export the gauge `sessions_active`; `count` is awaited at each scrape."""
        self._count_sessions = count
        self._sessions = Gauge("sessions_active", "Running sessions.", registry=self.registry)

    async def export(self, accept: str) -> tuple[str, bytes]:
        """Return content type and body of GET /metrics, in the text format that the header `accept` asks for."""
        if self._count_sessions:
            self._sessions.set(await self._count_sessions())
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self.registry)

    def _request_metrics(self, operation: str, method: str, status: int) -> tuple[Counter, Histogram]:
        return self._requests.labels(operation, method, str(status)), self._request_seconds.labels(operation)

    def _call_metrics(self, operation: str, outcome: str) -> tuple[Counter, Histogram]:
        return self._calls.labels(operation, outcome), self._call_seconds.labels(operation, outcome)
