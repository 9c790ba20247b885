"""The configuration of the engine."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from app.agents.registry import AgentRegistry
from app.engine.session_secrets import SessionSecrets
from app.git.access import GitAccess
from app.models.limits import Limits
from app.models.sessions import WorkspaceMode
from app.store.deletions import Deletion
from app.store.sessions import SessionRow
from app.workspaces.local import LocalAccess
from app.workspaces.workspace import Workspace


class GracePeriod(msgspec.Struct, frozen=True):
    """Seconds that an agent gets to end its turn once that is cancelled, and then to close."""

    cancel: float
    close: float


class WorkerPlace(NamedTuple):
    """How many sessions a worker works on at once, and the address by which API servers reach it.

    An empty `host` is the one that the database sees, the `port` 0 any free one. `drain` is for how many seconds it
    waits for its active runs when its server stops.
    """

    sessions: int = 100
    host: str = ""
    port: int = 0
    drain: float = 0


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How agents run; times in seconds.

    * `directory` holds workspaces and homes.
    * `run_timeout` bounds each run, `approval_timeout` the wait for the decision on an approval within a run.
    * A session that has been idle for `idle_timeout`, or for a shorter limit of its own, is stopped; None: no limit.
    * Beyond `max_running` sessions, others wait as pending; None: no bound.
    * `secrets` encrypts those of sessions.
    * `limits` bound what projects store.
    * `git` is what git may reach, and with which credentials.
    * `grace` is what an agent gets when its run is cancelled, `shutdown_grace` when the server stops.
    * `max_file` is the size in bytes beyond which files are not compared.
    * `max_attachments` bounds the bytes of attached files that an agent gets with one turn.
    * `local_roots` are by project the directories below which local directories may be workspaces.
    * A session whose disk no worker has had for `worker_lost` fails.
    * `interrupt_timeout` bounds how long an interrupt waits for the end of the run to be stored.
    """

    directory: Path
    agents: AgentRegistry
    secrets: SessionSecrets
    run_timeout: float
    approval_timeout: float = 600.0
    idle_timeout: float | None = None
    max_running: int | None = None
    git: GitAccess = GitAccess()
    limits: Limits = msgspec.field(default_factory=Limits)
    grace: GracePeriod = GracePeriod(cancel=5.0, close=3.0)
    shutdown_grace: GracePeriod = GracePeriod(cancel=2.0, close=1.0)
    interrupt_timeout: float = 10.0
    worker_lost: float = 600.0
    max_file: int = 100 * 2**20
    max_attachments: int = 10 * 2**20
    local_roots: Mapping[str, Sequence[Path]] = {}

    def workspace(self, session: SessionRow | Deletion) -> Path:
        """Return the directory in which a session works: one of the user's, or its own. A deletion has only its own."""
        chosen = session.request.workspace if isinstance(session, SessionRow) else None
        if chosen and chosen.mode is WorkspaceMode.IN_PLACE:
            return Path(chosen.path)
        return self.directory / "workspaces" / session.project / session.id

    def home(self, session: SessionRow | Deletion) -> Path:
        """Return the home directory of the session's processes."""
        return self.directory / "homes" / session.project / session.id

    def workspace_data(self, session: SessionRow | Deletion) -> Path:
        """Return the server's own directory for what it knows of a workspace."""
        return self.directory / "workspace-data" / session.project / session.id

    def opened(self, session: SessionRow) -> Workspace:
        """Return the session's workspace."""
        root, data = self.workspace(session), self.workspace_data(session)
        return Workspace(root, data, max_file=self.max_file, sandbox=self.git.sandbox)

    def local(self, session: SessionRow | Deletion) -> LocalAccess:
        """Return the access to local directories of the session's project."""
        return LocalAccess(self.local_roots.get(session.project, ()), self.git.sandbox)
