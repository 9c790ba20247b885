"""The port through which the API makes the engine act on what it has stored."""

from abc import ABC, abstractmethod

from app.store.deletions import Deletion
from app.store.sessions import SessionRow


class Signals(ABC):
    """Signals to the engine, each sent once the change that it follows is committed.

    Duties of an implementation:

    * A signal says which session has changed, and the store says what is to be done. So a signal that is repeated does
      no harm, and one that is lost with a crashing server is made up for at the next start.
    * `wake`, `cancel_run`, `provision` and `stop` return at once and never raise; the work is done in the background.
    * Work on one session is done in the order of its signals; a stop or a purge cancels unfinished provisioning.

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
        """Stop the agent of a deleted session and remove its workspace and log; return when that is done."""
