"""The Ambient Code Platform as a backend: its parts put together."""

from pathlib import Path

from app.backends.ambient.agui_runs import AmbientNative
from app.backends.ambient.api import PlatformApi
from app.backends.ambient.idempotency import IdempotencyStore
from app.backends.ambient.log_cache import LogCache
from app.backends.ambient.log_reader import LogReader
from app.backends.ambient.pending_runs import PendingRuns
from app.backends.ambient.poller import LogPollers
from app.backends.ambient.sessions import AmbientSessions
from app.errors import MissingProject
from app.models.caller import Caller, Credentials, Role
from app.observability.metrics import Observe
from app.observability.tracing import Tracing


class AmbientBackend(AmbientSessions, AmbientNative):
    """The platform at `url`; `timeout` (seconds) bounds the wait for an answer's head and between its bytes.

    `observe` is told of every call, and `tracing` makes a span of it. Tokens and roles are judged by the platform. It
    keeps no list of the runs that it accepted before their first event is stored, so this process remembers those for
    two minutes at most and reads them as `queued`. The end of an interrupted run is looked for every `poll_interval`
    seconds until `interrupt_deadline` seconds have passed; as often is a log read that somebody follows. First answers
    by idempotency key are kept in the file `answers`.
    """

    def __init__(
        self,
        url: str,
        timeout: float,
        observe: Observe | None = None,
        *,
        answers: Path,
        tracing: Tracing | None = None,
        log_cache_bytes: int = 80 << 20,
        interrupt_deadline: float = 10.0,
        poll_interval: float = 1.0,
    ) -> None:
        self._platform = PlatformApi(url, timeout, observe, tracing)
        self._accepted = PendingRuns()
        self._answers = IdempotencyStore(answers)
        self._exports = LogReader(self._platform, LogCache(log_cache_bytes))
        self._watches = LogPollers(self._platform, self._exports, poll_interval)
        self._interrupt_deadline = interrupt_deadline
        self._poll_interval = poll_interval

    async def open(self) -> None:
        """Return at once: connections are made when they are needed, and the platform need not be up yet."""

    async def close(self) -> None:
        """Close every connection, and the file."""
        await self._platform.close()
        await self._answers.close()

    async def ready(self) -> None:
        """Return if the platform is healthy."""
        await self._platform.health()

    async def authorize(self, credentials: Credentials, role: Role) -> Caller:  # noqa: ARG002 - the platform judges it
        """Settle the project; what the token may do there the platform says with each call."""
        if credentials.project is None:
            raise MissingProject
        return Caller(token=credentials.token, project=credentials.project)
