"""The configuration of the engine."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from app.agents.port import Agent
from app.store.deletions import Deletion
from app.store.sessions import SessionRow


class GracePeriod(msgspec.Struct, frozen=True):
    """Seconds that an agent gets to end its turn once that is cancelled, and then to close."""

    cancel: float
    close: float


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How agents run; times in seconds.

    * `directory` holds workspaces and session logs.
    * `agent_records` is where agents note their processes, None if agents are no processes of this machine.
    * `run_timeout` bounds each run, `approval_timeout` the wait for the decision on an approval within a run.
    * A session that has been idle for `idle_timeout` is stopped; None: never.
    * Beyond `max_running` sessions, others wait as pending; None: no bound.
    * `git_protocols` are those by which repositories may be cloned.
    * `grace` is what an agent gets when its run is cancelled, `shutdown_grace` when the server stops.
    * `interrupt_timeout` bounds how long an interrupt waits for the end of the run to be stored.
    """

    directory: Path
    make_agent: Callable[[], Agent]
    agent_records: Path | None = None
    run_timeout: float
    approval_timeout: float = 600.0
    idle_timeout: float | None = None
    max_running: int | None = None
    git_protocols: Sequence[str] = ("https", "ssh")
    grace: GracePeriod = GracePeriod(cancel=5.0, close=3.0)
    shutdown_grace: GracePeriod = GracePeriod(cancel=2.0, close=1.0)
    interrupt_timeout: float = 10.0

    def workspace(self, session: SessionRow | Deletion) -> Path:
        """Return the session's own directory."""
        return self.directory / "workspaces" / session.project / session.id

    @property
    def logs(self) -> Path:
        """The directory of the session logs."""
        return self.directory / "logs"
