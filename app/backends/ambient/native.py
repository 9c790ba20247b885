"""Runs of AG-UI clients on the platform: handed over, then followed in its log."""

import asyncio
from functools import partial
from typing import Any

from app.agui.known import known_ids
from app.agui.native import as_ours, asked
from app.agui.relay import relayed
from app.agui.select import of_run
from app.answers import EventStream
from app.backends.ambient.log import Log
from app.backends.ambient.runs import AmbientRuns
from app.backends.ambient.streams import AmbientStreams
from app.errors import NotRunning, RunExists
from app.types import Caller


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
        ours = as_ours(run_input, thread_id=session_id, known=known)
        accepted = await self._hand_over(caller, session_id, ours, asked(ours))
        events = partial(self.stream_session_events, caller, session_id, after=len(log.events))
        return relayed(accepted, run_input["threadId"], events, run_input["messages"])


def _look_up(log: Log, session_id: str, run_id: str) -> tuple[bool, set[str]]:
    """Whether the log has the run, and which messages of the session's own thread it knows."""
    in_log = next(of_run(log.events, run_id), None) is not None
    return in_log, known_ids(event for event in log.events if event.thread_id in (None, session_id))
