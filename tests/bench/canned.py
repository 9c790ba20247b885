"""A backend whose three measured operations return prepared values, to measure the server alone."""

from collections.abc import Sequence

import msgspec

from app.backends.ambient import mapping
from app.backends.ambient.resources import Page, Resource
from app.models.caller import Caller
from app.models.runs import AcceptedRun, MessageCreate
from app.models.sessions import Activity, Session, SessionPage, SessionStatus
from app.results import Idempotent
from tests.bench.resources import RUN, encoded, page, resource
from tests.support.contract import CannedBackend, CannedRuns, CannedSessions


class PreparedSessions(CannedSessions):
    """Sessions with prepared values; calls are not recorded, because there are too many."""

    session = mapping.session(msgspec.convert(resource("s1"), Resource), "s1")
    page = mapping.page(msgspec.json.decode(encoded(page()), type=Page), limit=100, offset=0)

    async def get_session(
        self,
        caller: Caller,  # noqa: ARG002 - the port's arguments
        session_id: str,  # noqa: ARG002
        *,
        wait: int = 0,  # noqa: ARG002
    ) -> Session:
        """Return the same session for any id."""
        return self.session

    async def list_sessions(
        self,
        caller: Caller,  # noqa: ARG002
        *,
        limit: int,  # noqa: ARG002
        offset: int,  # noqa: ARG002
        search: str | None,  # noqa: ARG002
        status: Sequence[SessionStatus],  # noqa: ARG002
        activity: Sequence[Activity] = (),  # noqa: ARG002
        label: Sequence[str],  # noqa: ARG002
    ) -> SessionPage:
        """Return the same hundred sessions for any page."""
        return self.page


class PreparedRuns(CannedRuns):
    """Runs with a prepared value for messages, which are not recorded."""

    accepted = AcceptedRun(run_id=RUN, thread_id="s1")

    async def send_message(self, caller: Caller, session_id: str, message: MessageCreate) -> Idempotent[AcceptedRun]:  # noqa: ARG002
        """Return the same run for any message."""
        return Idempotent(self.accepted)


class PreparedBackend(CannedBackend):
    """A backend whose measured operations return prepared values."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions = PreparedSessions(self.calls)
        self.runs = PreparedRuns(self.calls)
