"""Runs of AG-UI clients on the platform: handed over, then followed in its log."""

import asyncio
from functools import partial
from typing import Any

from app.agui.client_stream import client_stream, known_ids
from app.agui.run_filter import of_run
from app.agui.run_input import normalize_run_input
from app.backends.ambient.poller import LogSnapshot
from app.backends.ambient.runs import AmbientRuns
from app.backends.ambient.streams import AmbientStreams
from app.errors import NotRunning, RunExists
from app.models.caller import Caller
from app.results import EventStream


class AmbientNative(AmbientRuns, AmbientStreams):
    """The part of the port that is about AG-UI clients."""

    async def run_agent(self, caller: Caller, session_id: str, run_input: dict[str, Any]) -> EventStream:
        """Hand a run to the platform with the messages that its log does not know."""
        log = await self._watches.read(caller, session_id)
        if not log.running:
            raise NotRunning
        in_log, known = await asyncio.to_thread(_look_up, log, session_id, run_input["runId"])
        if in_log or self._accepted.get(caller.project, session_id, run_input["runId"]):
            raise RunExists
        ours = normalize_run_input(run_input, thread_id=session_id, known=known)
        accepted = await self._submit(caller, session_id, ours)
        events = partial(self.stream_session_events, caller, session_id, after=len(log.events))
        return client_stream(accepted, run_input["threadId"], events, run_input["messages"])


def _look_up(log: LogSnapshot, session_id: str, run_id: str) -> tuple[bool, set[str]]:
    """Whether the log has the run, and which messages of the session's own thread it knows."""
    in_log = next(of_run(log.events, run_id), None) is not None
    return in_log, known_ids(event for event in log.events if event.thread_id in (None, session_id))
