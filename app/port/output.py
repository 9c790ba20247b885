"""The port's output: the log of a session as a document, a page or a stream, and its text log."""

from abc import ABC, abstractmethod

from app.models.caller import Caller
from app.models.output import EventLog, LogPage, OutputFormat, Transcript
from app.results import EventStream, StreamedBody


class Output(ABC):
    """Operations that read the log of a session or its text log. The duties of `Backend` apply."""

    @abstractmethod
    async def get_session_output(
        self, caller: Caller, session_id: str, *, format: OutputFormat, run_id: str | None, page: LogPage | None = None
    ) -> Transcript | EventLog | StreamedBody:
        """Return the log of a session, or of one of its runs. (GET /v1/sessions/{session_id}/output)

        Without a page it is the whole log; a transcript has no pages. `run_id` is a UUID in any spelling. Raises
        `RunNotFound`, and `CursorExpired` for a page after a cursor that the log does not have.
        """

    @abstractmethod
    async def stream_session_events(
        self, caller: Caller, session_id: str, *, after: str | None, run_id: str | None, format: OutputFormat
    ) -> EventStream:
        """Stream the events after a cursor, and then those to come. (GET /v1/sessions/{session_id}/events)

        Without a cursor it begins with the log. With `run_id`, a UUID in any spelling, it ends after that run. The
        format is not `transcript`. Raises `CursorExpired`, `RunNotFound`.
        """

    @abstractmethod
    async def get_session_logs(self, caller: Caller, session_id: str, *, tail: int) -> str:
        """Return the last `tail` lines, at most, of a session's text log. (GET /v1/sessions/{session_id}/logs)

        Raises `NotSupported` if there is none.
        """

    async def version(
        self,
        caller: Caller,  # noqa: ARG002 - unused in the default
        session_id: str,  # noqa: ARG002
    ) -> str | None:
        """Return a text that changes whenever the session's log or runs do; None if that takes reading them."""
        return None
