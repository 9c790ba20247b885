"""A backend: the operations on agents, sessions, runs, output and workspaces, and who may call them."""

from abc import ABC, abstractmethod
from inspect import iscoroutinefunction

from app.models.caller import Caller, Credentials, Identity, Role
from app.models.limits import TakeRequests
from app.port.agents import Agents
from app.port.output import Output
from app.port.runs import Runs
from app.port.sessions import Sessions
from app.port.workspaces import Workspaces


class Backend(ABC):
    """A place where sessions run.

    Names, ids and bodies have passed the validation of the document before a method is called. An implementation must:

    * raise only errors of `app.errors`: those that a docstring names, and in any method `BackendError`,
      `BackendUnavailable`, `BackendTimeout`, `StorageUnavailable` and `StorageFull`;
    * raise `SessionNotFound` for a session id that is not one of the caller's project;
    * have stored a change durably when its method returns;
    * store the result for a caller's idempotency key (`Idempotent`) and return it again for the same request; a
      different one raises `IdempotencyKeyReused`, and `IdempotencyOutcomeUnknown` if the first one was not finished.

    The operations are those of its parts, which are there once it is open.
    """

    agents: Agents
    sessions: Sessions
    runs: Runs
    output: Output
    workspaces: Workspaces

    take_requests: TakeRequests | None = None
    """None if servers do not share the buckets of clients."""

    # The server's start and end

    @abstractmethod
    async def open(self) -> None:
        """Connect, migrate and recover. Called once, before the first request."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what is in progress and release everything. Called once, after the last request."""

    @abstractmethod
    async def ready(self) -> None:
        """Return if sessions can be served, else raise. (GET /ready)"""

    # Callers

    @abstractmethod
    async def authorize(self, credentials: Credentials, role: Role) -> Caller:
        """Return the caller with their project, if they have at least this role as far as the backend knows.

        Raises `MissingProject`, `Unauthorized`, `Forbidden`.
        """

    @abstractmethod
    async def whoami(self, caller: Caller) -> Identity:
        """Return the caller as far as the backend knows them, and what it can do. (GET /v1/whoami)"""


PARTS: dict[str, type] = {
    "agents": Agents,
    "sessions": Sessions,
    "runs": Runs,
    "output": Output,
    "workspaces": Workspaces,
}
"""The parts of a backend by the names of its attributes."""

OPERATIONS = frozenset(
    name
    for part in PARTS.values()
    for name, member in vars(part).items()
    if iscoroutinefunction(member) and name != "version"
) | {"whoami"}
"""The names of the port's operations, which are those of the document."""

FEATURES = frozenset(
    {
        "approval_policy",
        "attachments",
        "idle_timeout_seconds",
        "local_directories",
        "mode",
        "remove_labels",
        "resume",
        "sandbox",
        "stop_on_run_finished",
        "timeout_seconds",
    }
)
"""Parts of operations, and properties, that a backend may lack."""
