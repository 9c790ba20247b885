"""The platform backend: the port over the HTTP API of an Ambient Code Platform."""

from collections.abc import Callable
from pathlib import Path
from time import monotonic

from app.backends.ambient.agents import AmbientAgents
from app.backends.ambient.api import PlatformApi
from app.backends.ambient.idempotency import IdempotencyStore
from app.backends.ambient.live_logs import LiveLogs
from app.backends.ambient.log_cache import LogCache
from app.backends.ambient.log_reader import LogReader
from app.backends.ambient.output import AmbientOutput
from app.backends.ambient.pending_runs import PendingRuns
from app.backends.ambient.runs import AmbientRuns
from app.backends.ambient.session_state import Runners
from app.backends.ambient.sessions import AmbientSessions
from app.backends.ambient.workspaces import AmbientWorkspaces
from app.errors import ApiError, MissingProject, NotReady
from app.models.caller import Caller, Credentials, Identity, Role
from app.models.limits import Limits
from app.observability.metrics import Observe
from app.observability.tracing import Tracing
from app.port.backend import FEATURES, OPERATIONS, Backend

NOT_SUPPORTED = frozenset(
    {
        "approval_policy",
        "attachments",
        "cancel_run",
        "get_workspace_diff",
        "get_workspace_patch",
        "local_directories",
        "mode",
        "push_workspace",
        "remove_labels",
        "resume",
        "sandbox",
    }
)
"""Operations and features that the platform lacks."""


async def find_obstacle(url: str) -> str | None:
    """Return why the platform at `url` cannot be served at all, in one line; None if it can, or is not up yet."""
    platform = PlatformApi(url, timeout=5)
    try:
        await platform.health()
    except NotReady as error:
        return error.message
    except ApiError:
        return None
    finally:
        await platform.close()
    return None


class AmbientBackend(Backend):
    """Sessions of the platform at `url`, which authenticates tokens and decides what they may do.

    Times are in seconds: `timeout` bounds each wait for the platform, `interrupt_timeout` the wait for the end of an
    interrupted run. A log that somebody waits for is read every `poll_interval`. `clock` tells seconds since some
    moment. Responses by idempotency key are stored in `idempotency_file`.
    """

    def __init__(
        self,
        url: str,
        timeout: float,
        observe: Observe | None = None,
        *,
        idempotency_file: Path,
        tracing: Tracing | None = None,
        log_cache_bytes: int = 80 << 20,
        limits: Limits | None = None,
        interrupt_timeout: float = 10.0,
        poll_interval: float = 1.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._platform = PlatformApi(url, timeout, observe, tracing)
        self._limits = limits
        self._idempotency = IdempotencyStore(idempotency_file)
        pending = PendingRuns(clock)
        logs = LogReader(self._platform, LogCache(log_cache_bytes))
        runners = Runners(self._platform, clock)
        live = LiveLogs(self._platform, logs, runners, poll_interval)
        self.agents = AmbientAgents(self._platform)
        self.output = AmbientOutput(self._platform, pending, logs, live)
        runs = AmbientRuns(
            self._platform,
            self._idempotency,
            pending,
            logs,
            live,
            runners=runners,
            output=self.output,
            interrupt_timeout=interrupt_timeout,
            clock=clock,
        )
        self.runs = runs
        sessions = AmbientSessions(
            self._platform, self._idempotency, pending, runs, runners=runners, poll_interval=poll_interval
        )
        self.sessions, self._stop_repeating = sessions, sessions.close
        self.workspaces = AmbientWorkspaces(self._platform)

    async def open(self) -> None:
        """Return at once: connections are made when they are needed, and the platform need not be up yet."""

    async def close(self) -> None:
        """Close all connections and the file."""
        self._stop_repeating()
        await self._platform.close()
        await self._idempotency.close()

    async def ready(self) -> None:
        """Return if the platform is healthy."""
        await self._platform.health()

    async def authorize(self, credentials: Credentials, role: Role) -> Caller:  # noqa: ARG002 - the platform judges it
        """Return the caller in the project; the platform judges the token at each call. `MissingProject`."""
        if credentials.project is None:
            raise MissingProject
        return Caller(token=credentials.token, project=credentials.project)

    async def whoami(self, caller: Caller) -> Identity:
        """Return the caller's project once the platform has accepted the token for it."""
        await self._platform.list_sessions(caller, 1, 0, None)
        capabilities = (OPERATIONS | FEATURES) - NOT_SUPPORTED
        return Identity(
            project=caller.project, backend="ambient", capabilities=sorted(capabilities), limits=self._limits
        )
