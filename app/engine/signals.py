"""The port through which the API makes the engine act on what it has stored."""

from abc import ABC, abstractmethod

from app.store.deletions import Deletion
from app.store.sessions import SessionRow


class Signals(ABC):
    """Signals to the engine, each sent once the change that it follows is committed.

    Duties of an implementation:

    * The work is recorded in the store, and a signal only says where. So a repeated signal does no harm, and the work
      of one that is lost in a crash is resumed at the next start.
    * `wake`, `cancel_run`, `provision` and `stop` return at once and never raise; the work is done in the background.
    * A session is provisioned, stopped and purged in the order of the signals, and each of them cancels provisioning
      that has not finished.

    The engine that implements them in this process is `app.engine.engine.Engine`.
    """

    @abstractmethod
    def wake(self, session: int) -> None:
        """Run what is queued in the session with this row id."""

    @abstractmethod
    def cancel_run(self, session: int, run: int) -> None:
        """End a run as interrupted if it is the session's active one; both are row ids."""

    @abstractmethod
    async def interrupt(self, session: int) -> bool:
        """Cancel the session's active run and wait until its end is stored; False if there is none.

        `StorageUnavailable` if the end could not be stored in time; it is stored as soon as the storage works again.
        """

    @abstractmethod
    def provision(self, session: SessionRow) -> None:
        """Make the workspace of a pending session, then let the session run."""

    @abstractmethod
    def stop(self, session: SessionRow) -> None:
        """Stop the agent of a stopping session, then let the session be stopped."""

    @abstractmethod
    async def purge(self, deletion: Deletion) -> None:
        """Stop the agent of a deleted session and remove its workspace; return when that is done."""
