"""The composition root: settings in, the ASGI application out."""

import functools
import importlib
import inspect
import pkgutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from connexion.middleware import ConnexionMiddleware
from connexion.middleware.lifespan import LifespanMiddleware

import handlers
from app import spec, web
from app.contract.middleware import CompiledContract, own_api
from app.contract.operation import Handler
from app.models.limits import Limits
from app.observability.metrics import CLUSTER_METRICS, SESSION_METRICS, WORKER_METRICS, Metrics
from app.observability.tracing import Tracing
from app.port.backend import Backend
from app.server.connections import within_descriptors
from app.server.middleware import RequestMiddleware
from app.server.ratelimit import RateLimiter
from app.server.shared_ratelimit import SharedRateLimiter
from app.server.streaming import OpenStreams
from app.setting_types import SettingsError
from app.settings import Settings

if TYPE_CHECKING:
    from app.engine.cluster.health_server import HealthServer
    from app.engine.cluster.worker import Worker
    from app.engine.config import EngineConfig, WorkerPlace


def create_app(settings: Settings, backend: Backend | None = None, *, runs_agents: bool = True) -> RequestMiddleware:
    """Return the whole server, whose lifespan opens and closes the backend.

    `backend` replaces the one that the settings name. Unless it `runs_agents`, workers do. Raises
    `TracingNotInstalled`, `SandboxError`.
    """
    # Observability.
    metrics = Metrics()
    tracing = Tracing.exporting_to(settings.otel_exporter_otlp_endpoint) if settings.otel_enabled else None

    # The backend.
    backend = backend or make_backend(settings, metrics, tracing, runs_agents=runs_agents)

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        await backend.open()
        try:
            yield
        finally:
            await backend.close()

    # The limits of rates, of addresses and of keys.
    def make_limiter(kind: str, rps: int, burst: int) -> RateLimiter:
        take = backend.take_requests
        return SharedRateLimiter(rps, burst, take, kind=kind) if take else RateLimiter(rps, burst)

    # The API, by the compiled contract; all other paths are for the pages.
    document = spec.load()
    streams = OpenStreams(make_limits(settings).max_streams)
    metrics.watch("http_streams", "Open event streams and long polls.", lambda: len(streams))
    contract = functools.partial(
        CompiledContract,
        handlers=find_handlers(),
        backend=backend,
        max_body=settings.max_body_bytes,
        max_raw_body=settings.max_file_bytes,
        streams=streams,
        limiter=make_limiter("key", settings.key_rate_limit_rps, settings.key_rate_limit_burst),
    )
    api = ConnexionMiddleware(
        web.create_app(spec.published(document)),
        middlewares=[contract, LifespanMiddleware],
        lifespan=lifespan,
    )
    api.apis.append(own_api(document))

    # What surrounds every request.
    limiter = make_limiter("address", settings.rate_limit_rps, settings.rate_limit_burst)
    return RequestMiddleware(
        api, settings=settings, metrics=metrics, ready=backend.ready, limiter=limiter, tracing=tracing
    )


def find_handlers() -> dict[str, Handler]:
    """Return every public coroutine of the handler modules by its name, which is an operationId."""
    modules = [importlib.import_module(f"handlers.{module.name}") for module in pkgutil.iter_modules(handlers.__path__)]
    return {
        name: member
        for module in modules
        for name, member in inspect.getmembers(module, inspect.iscoroutinefunction)
        if member.__module__ == module.__name__ and not name.startswith("_")
    }


def make_backend(settings: Settings, metrics: Metrics, tracing: Tracing | None, *, runs_agents: bool = True) -> Backend:
    """Return the adapter for BACKEND_URL. Only the one in use is imported."""
    if settings.store is None:
        from app.backends.ambient.backend import AmbientBackend  # noqa: PLC0415

        return AmbientBackend(
            settings.backend_url,
            settings.backend_timeout,
            metrics.observe,
            idempotency_file=settings.data_dir / "idempotency.db",
            tracing=tracing,
            log_cache_bytes=settings.log_cache_bytes,
            limits=Limits(max_streams=make_limits(settings).max_streams),
        )
    from app.backends.embedded.backend import EmbeddedBackend  # noqa: PLC0415
    from app.store.open import sqlite_file  # noqa: PLC0415

    config = make_engine_config(settings, settings.store)
    if not runs_agents:
        config = msgspec.structs.replace(config, local_roots={})  # those of this machine are of no use elsewhere
    backend = EmbeddedBackend(
        settings.store, config, metrics.observe, runs_agents=runs_agents, place=make_place(settings)
    )
    metrics.watch_group(SESSION_METRICS, backend.totals)
    if not sqlite_file(settings.store):
        metrics.watch_group(CLUSTER_METRICS, backend.cluster_figures)
        metrics.watch_group(WORKER_METRICS, backend.worker_figures)
    return backend


def make_limits(settings: Settings) -> Limits:
    """Return the bounds that the settings put on keys, sessions and projects."""
    return Limits(
        max_streams=min(settings.max_streams_per_key, within_descriptors(settings.max_connections) // 2),
        max_sessions=settings.max_sessions_per_project,
        max_run_bytes=settings.max_run_bytes,
        max_session_bytes=settings.max_session_bytes,
        max_project_bytes=settings.max_project_bytes,
        max_workspace_bytes=settings.max_workspace_bytes,
        max_project_workspace_bytes=settings.max_project_workspace_bytes,
    )


@asynccontextmanager
async def open_worker(settings: Settings, store: str) -> AsyncIterator["Worker"]:
    """Yield a worker on a store, at work; raises `StorageUnavailable`, `SandboxError`, `DiskError`, `OSError`."""
    from app.engine.cluster.health_server import HealthServer  # noqa: PLC0415
    from app.engine.cluster.worker import Worker  # noqa: PLC0415
    from app.engine.session_log import SessionLogs  # noqa: PLC0415
    from app.store import workers  # noqa: PLC0415
    from app.store.open import open_database  # noqa: PLC0415

    metrics = Metrics()
    config = make_engine_config(settings, store)
    database = await open_database(store, metrics.observe, shared=True)
    try:
        config.agents.log_state()
        logs = SessionLogs(database, config.secrets)
        place = make_place(settings)
        worker = Worker(database, store, config, metrics.observe, session_logs=logs, place=place)
        metrics.watch_group(CLUSTER_METRICS, functools.partial(database.read, workers.totals))
        metrics.watch_group(WORKER_METRICS, worker.figures)
        health = HealthServer(metrics, worker.ready)
        try:
            if settings.worker_health_port:
                await _listen(health, settings.host, settings.worker_health_port)
            await worker.start()
            yield worker
        finally:
            await worker.close()
            await health.close()
    finally:
        await database.close()


async def _listen(health: "HealthServer", host: str, port: int) -> None:
    try:
        await health.open(host, port)
    except OSError as error:
        raise SettingsError(f"WORKER_HEALTH_PORT {port} on {host} cannot be used: {error.strerror}") from error


def make_place(settings: Settings) -> "WorkerPlace":
    """Return where and how much a worker works."""
    from app.engine.config import WorkerPlace  # noqa: PLC0415

    return WorkerPlace(
        settings.worker_sessions, settings.worker_host or "", settings.worker_port, settings.worker_drain or 0
    )


def make_engine_config(settings: Settings, store: str) -> "EngineConfig":
    """Return how the settings have agents run; raises `SandboxError`."""
    from app.agents.registry import AgentRegistry, agent_maker  # noqa: PLC0415
    from app.engine.config import EngineConfig  # noqa: PLC0415
    from app.engine.session_secrets import SessionSecrets, read_keys  # noqa: PLC0415
    from app.git.access import GitAccess  # noqa: PLC0415
    from app.sandbox.sandbox import ProcessLimits, detect  # noqa: PLC0415
    from app.store.open import sqlite_file  # noqa: PLC0415

    file = sqlite_file(store)
    sandbox = detect(
        settings.agent_sandbox,
        hidden=[settings.data_dir, settings.secrets_key_file, *([file] if file else [])],
        limits=ProcessLimits(settings.agent_memory_bytes, settings.agent_processes),
    )
    definitions = settings.agent_definitions.values()
    if not file and not settings.secrets_key:
        raise SettingsError("SECRETS_KEY must be set if BACKEND_URL is postgresql://")
    return EngineConfig(
        secrets=SessionSecrets(settings.secrets_key or read_keys(settings.secrets_key_file)),
        directory=settings.data_dir.resolve(),
        agents=AgentRegistry(
            definitions, agent_maker(definitions, sandbox=sandbox, start_timeout=settings.agent_start_timeout), sandbox
        ),
        run_timeout=settings.run_timeout,
        approval_timeout=settings.approval_timeout,
        idle_timeout=settings.idle_timeout,
        max_running=settings.max_running_sessions,
        worker_lost=settings.worker_lost,
        max_file=settings.max_file_bytes,
        max_attachments=settings.max_attachment_bytes,
        limits=make_limits(settings),
        local_roots=settings.local_roots,
        git=GitAccess(
            protocols=settings.git_protocols,
            hosts=settings.git_hosts,
            ssh_key=settings.git_ssh_key_file,
            known_hosts=settings.git_known_hosts_file,
            sandbox=sandbox,
        ),
    )
