"""Output of the embedded backend: a session's log as a document, a page or a stream, and its text log."""

from app.agui.run_filter import normalize_run_id
from app.engine.session_log import SessionLogs
from app.models.caller import Caller
from app.models.output import EventLog, LogPage, OutputFormat
from app.port.output import Output
from app.results import EventStream, StreamedBody
from app.store import log, runs, sessions
from app.store.database import Database
from app.store.follow import follow
from app.store.log import StoredLog


class EmbeddedOutput(Output):
    """Operations that read a session's log or its text log."""

    def __init__(self, database: Database, session_logs: SessionLogs) -> None:
        self._database = database
        self._session_logs = session_logs
        self._stored_log = StoredLog(database)

    async def get_session_output(
        self, caller: Caller, session_id: str, *, format: OutputFormat, run_id: str | None, page: LogPage | None = None
    ) -> EventLog | StreamedBody:
        """Return the log, or one run's: a page in one read, the whole log piece by piece."""
        session = await self._database.read_one(sessions.find, caller.project, session_id)
        run_id = run_id and normalize_run_id(run_id)
        if format is OutputFormat.TRANSCRIPT:
            return self._stored_log.transcript(session, run_id)
        if page:
            return await self._database.read_in_thread(log.read_page, session, format, run_id, page)
        return self._stored_log.events(session, format, run_id)

    async def stream_session_events(
        self, caller: Caller, session_id: str, *, after: str | None, run_id: str | None, format: OutputFormat
    ) -> EventStream:
        """Return the events after a cursor as a stream that goes on with new ones."""
        session = (await self._database.read_one(sessions.find, caller.project, session_id)).row_id
        run_id = run_id and normalize_run_id(run_id)
        return await follow(self._database, session, after, run_id, compacted=format is OutputFormat.COMPACT)

    async def get_session_logs(self, caller: Caller, session_id: str, *, tail: int) -> str:
        """Return the last `tail` lines of the session's text log."""
        session = await self._database.read_one(sessions.find, caller.project, session_id)
        return await self._session_logs.tail(session.row_id, tail)

    async def version(self, caller: Caller, session_id: str) -> str:
        """Return what changes with the session and its runs, read from their rows and not from the log."""
        session = await self._database.read_one(sessions.find, caller.project, session_id)
        return f"{session.status} {await self._database.read_one(runs.state_counts, session.row_id)}"
