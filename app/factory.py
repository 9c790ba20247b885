"""The composition root: settings in, the ASGI application out."""

import functools
import importlib
import inspect
import pkgutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from connexion.middleware import ConnexionMiddleware
from connexion.middleware.lifespan import LifespanMiddleware
from starlette.types import ASGIApp

import handlers
from app import spec, web
from app.backend import Backend
from app.contract import security
from app.contract.middleware import CompiledContract
from app.contract.operation import Handler
from app.observability.metrics import Metrics
from app.observability.tracing import Tracing
from app.server.middleware import RequestMiddleware
from app.settings import Settings


def create_app(settings: Settings, backend: Backend | None = None) -> ASGIApp:
    """Return the whole server, whose lifespan opens and closes the backend.

    `backend` replaces the one that the settings name. Raises `TracingNotInstalled`.
    """
    # Observability.
    metrics = Metrics()
    tracing = Tracing.exporting_to(settings.otel_exporter_otlp_endpoint) if settings.otel_enabled else None

    # The backend.
    backend = backend or make_backend(settings, metrics, tracing)

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        await backend.open()
        try:
            yield
        finally:
            await backend.close()

    # The API, by the compiled contract; all other paths are for the pages.
    document = spec.load()
    contract = functools.partial(
        CompiledContract, handlers=find_handlers(), backend=backend, max_body=settings.max_body_bytes
    )
    api = ConnexionMiddleware(
        web.create_app(spec.published(document)),
        middlewares=[contract, LifespanMiddleware],
        lifespan=lifespan,
        security_map=security.SECURITY_MAP,
    )
    api.add_api(document)

    # What surrounds every request.
    return RequestMiddleware(api, settings=settings, metrics=metrics, ready=backend.ready, tracing=tracing)


def find_handlers() -> dict[str, Handler]:
    """Return every public coroutine of the handler modules by its name, which is an operationId."""
    modules = [importlib.import_module(f"handlers.{module.name}") for module in pkgutil.iter_modules(handlers.__path__)]
    return {
        name: member
        for module in modules
        for name, member in inspect.getmembers(module, inspect.iscoroutinefunction)
        if member.__module__ == module.__name__ and not name.startswith("_")
    }


def make_backend(settings: Settings, metrics: Metrics, tracing: Tracing | None) -> Backend:
    """Return the adapter for BACKEND_URL. Only the one in use is imported."""
    if settings.database is None:
        from app.backends.ambient.backend import AmbientBackend  # noqa: PLC0415

        return AmbientBackend(
            settings.backend_url,
            settings.backend_timeout,
            metrics.observe,
            idempotency_file=settings.data_dir / "idempotency.db",
            tracing=tracing,
            log_cache_bytes=settings.log_cache_bytes,
        )
    from app.agents.registry import agent_factory  # noqa: PLC0415
    from app.backends.embedded.backend import EmbeddedBackend  # noqa: PLC0415
    from app.engine.config import EngineConfig  # noqa: PLC0415

    records = settings.data_dir / "agents"
    config = EngineConfig(
        directory=settings.data_dir,
        make_agent=agent_factory(
            settings.agent,
            inherited=settings.agent_env,
            services=settings.agent_services,
            records=records,
            start_timeout=settings.agent_start_timeout,
        ),
        agent_records=records,
        run_timeout=settings.run_timeout,
        approval_timeout=settings.approval_timeout,
        idle_timeout=settings.idle_timeout,
        max_running=settings.max_running_sessions,
        git_protocols=settings.git_protocols,
    )
    backend = EmbeddedBackend(settings.database, config, metrics.observe)
    metrics.watch_sessions(backend.running_sessions)
    return backend
