"""Runs: send, create, list, read, cancel."""

from functools import partial
from typing import Any
from urllib.parse import quote

from app.backend import Backend
from app.models.caller import Caller
from app.models.runs import AcceptedRun, NewMessage, NewRun, RunList, RunStatus
from app.results import Created, EventStream, Idempotent, LongPoll


async def send_message(backend: Backend, caller: Caller, *, session_id: str, body: NewMessage) -> Created:
    """Send a message; the agent's answer is a run."""
    return _at(session_id, await backend.send_message(caller, session_id, body))


async def create_run(backend: Backend, caller: Caller, *, session_id: str, body: NewRun) -> Created:
    """Create a run from AG-UI messages."""
    return _at(session_id, await backend.create_run(caller, session_id, body))


async def list_runs(backend: Backend, caller: Caller, *, session_id: str, status: RunStatus | None) -> RunList:
    """List a session's runs in the order of their start."""
    return await backend.list_runs(caller, session_id, status=status)


async def get_run(backend: Backend, caller: Caller, *, session_id: str, run_id: str, wait: int) -> LongPoll:
    """Read one run's summary, once it has ended or after a while."""
    read = partial(backend.get_run, caller, session_id, run_id)
    return LongPoll(wait, read(wait=wait), current=read)


async def cancel_run(backend: Backend, caller: Caller, *, session_id: str, run_id: str) -> None:
    """Take a queued run out of the queue."""
    await backend.cancel_run(caller, session_id, run_id)


async def run_agent(backend: Backend, caller: Caller, *, session_id: str, body: dict[str, Any]) -> EventStream:
    """Take an AG-UI client's run and stream its events."""
    return await backend.run_agent(caller, session_id, body)


def _at(session_id: str, accepted: Idempotent[AcceptedRun]) -> Created:
    run = accepted.value
    return Created(run, f"/v1/sessions/{session_id}/runs/{quote(run.run_id, safe='')}", replayed=accepted.replayed)
