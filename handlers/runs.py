"""Runs: send, create, list, read, cancel."""

from typing import Any

from app.attachments import check, check_run
from app.models.caller import Caller
from app.models.runs import AcceptedRun, MessageCreate, RunCreate, RunList, RunStatus, RunSummary
from app.port.backend import Backend
from app.results import EventStream, Idempotent


async def send_message(
    backend: Backend, caller: Caller, *, session_id: str, body: MessageCreate
) -> Idempotent[AcceptedRun]:
    """Send a message of the user, which starts a run."""
    check(body.attachments)
    return await backend.runs.send_message(caller, session_id, body)


async def create_run(backend: Backend, caller: Caller, *, session_id: str, body: RunCreate) -> Idempotent[AcceptedRun]:
    """Create a run from AG-UI messages."""
    check_run(body)
    return await backend.runs.create_run(caller, session_id, body)


async def list_runs(backend: Backend, caller: Caller, *, session_id: str, status: RunStatus | None) -> RunList:
    """List a session's runs in the order of their start."""
    return await backend.runs.list_runs(caller, session_id, status=status)


async def get_run(backend: Backend, caller: Caller, *, session_id: str, run_id: str, wait: int) -> RunSummary:
    """Read one run's summary, once the run has ended or after `wait` seconds."""
    return await backend.runs.get_run(caller, session_id, run_id, wait=wait)


async def cancel_run(backend: Backend, caller: Caller, *, session_id: str, run_id: str) -> None:
    """Remove a queued run from the queue."""
    await backend.runs.cancel_run(caller, session_id, run_id)


async def run_agent(backend: Backend, caller: Caller, *, session_id: str, body: dict[str, Any]) -> EventStream:
    """Start a run for an AG-UI client and stream its events."""
    return await backend.runs.run_agent(caller, session_id, body)
