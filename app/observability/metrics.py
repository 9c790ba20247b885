"""Prometheus metrics of the server: requests, backend calls and running sessions."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.errors import ApiError

Observe = Callable[[str, float, str], None]
"""Reports one finished backend call, from any thread: operation, seconds, and the outcome.

The outcome is `ok`, `error`, `timeout`, `unavailable` or `cancelled`.
"""

_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
Figures = Callable[[], Awaitable[Sequence[float]]]
"""Returns the values of some metrics, in their order."""

SESSION_METRICS = (
    ("sessions_active", "Running sessions."),
    ("sessions_stored_bytes", "What the sessions of all projects store: requests, inputs and logs."),
    ("sessions_workspace_bytes", "What the workspaces and homes of all sessions take on the disk, as last measured."),
)
CLUSTER_METRICS = (
    ("workers_alive", "Workers of the database that are alive."),
    ("oldest_heartbeat_seconds", "How long the most silent worker has been silent that has not ended by itself."),
    ("jobs_waiting", "Sessions that wait for a worker to take them."),
)
WORKER_METRICS = (
    ("sessions_owned", "Sessions that this worker works on."),
    ("fenced_writes_total", "Writes of this worker that were refused because another one has the session."),
)
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
        self._refused = Counter(
            "refused",
            "Requests and connections beyond a bound, by code.",
            ("code",),
            registry=self.registry,
        )
        self._groups: list[_Group] = []

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

    def refused(self, code: str) -> None:
        """Count a request or a connection that was refused because of a bound."""
        self._refused.labels(code).inc()

    def watch(self, name: str, meaning: str, count: Callable[[], float]) -> None:
        """Export a gauge; `count` is called at each scrape."""
        Gauge(name, meaning, registry=self.registry).set_function(count)

    def watch_group(self, metrics: Sequence[tuple[str, str]], read: Figures) -> None:
        """Export metrics, each with its name and meaning; `read` is awaited at each scrape.

        Those whose names end with `_total` are counters, others gauges. They are absent while the storage is away.
        """
        group = _Group(metrics, read)
        self._groups.append(group)
        self.registry.register(group)

    async def export(self, accept: str) -> tuple[str, bytes]:
        """Return content type and body of GET /metrics, in the text format that the header `accept` asks for."""
        for group in self._groups:
            await group.read()
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self.registry)

    def _request_metrics(self, operation: str, method: str, status: int) -> tuple[Counter, Histogram]:
        return self._requests.labels(operation, method, str(status)), self._request_seconds.labels(operation)

    def _call_metrics(self, operation: str, outcome: str) -> tuple[Counter, Histogram]:
        return self._calls.labels(operation, outcome), self._call_seconds.labels(operation, outcome)


class _Group(Collector):
    """Metrics whose values are read together."""

    def __init__(self, metrics: Sequence[tuple[str, str]], read: Figures) -> None:
        self._metrics = metrics
        self._read = read
        self._values: Sequence[float] = ()

    async def read(self) -> None:
        """Read the values that are exported next."""
        try:
            self._values = await self._read()
        except ApiError:
            self._values = ()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics that have been read."""
        for (name, meaning), value in zip(self._metrics, self._values, strict=False):
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield family(name, meaning, value=value)
