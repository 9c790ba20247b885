"""The port between the engine and agents: one turn in, AG-UI events out."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from app.models.approvals import DENIED, ApprovalDecision, ApprovalRequest

RequestApproval = Callable[[ApprovalRequest], Awaitable[ApprovalDecision]]


async def _deny(_request: ApprovalRequest) -> ApprovalDecision:
    return DENIED


async def _discard(_state: str) -> None:
    pass


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an agent gets for one run."""

    input: dict[str, Any]
    """An AG-UI RunAgentInput in camelCase with threadId, runId, state, messages, tools, context and forwardedProps.

    `messages` is the whole conversation of the thread. A run that answers interrupts also has `resume`.
    """
    workspace: Path
    """The session's own directory."""
    environment: dict[str, str]
    """The variables that the session adds to the agent's environment."""
    log: Callable[[str], None] = lambda _text: None
    """Writes whole lines to the session's log: what the agent's process says besides its events."""
    new_messages: int = 1
    """How many of the last messages are new with this run."""
    request_approval: RequestApproval = _deny
    """Waits for the decision on an approval within the turn. A caller that is cancelled needs none any more."""
    model: str | None = None
    """The model that the session selects."""
    saved_state: str | None = None
    """The text last given to `save_state` in this thread, by this agent or by one before a restart of the server."""
    save_state: Callable[[str], Awaitable[None]] = _discard
    """Stores a text for later turns of this thread."""


class AgentError(Exception):
    """The agent could not be reached or broke the protocol. Clients read the message."""


class Agent(ABC):
    """An agent for one session. Whoever implements it has these duties:

    * Take one turn at a time; `run` is not called again before the last iteration is over.
    * Yield AG-UI events and nothing else, each as one JSON object in UTF-8, unchanged where the agent wrote it. The
      engine replaces ids, adds missing times, a missing beginning and a missing end.
    * Produce no faster than the events are read, and buffer little: the engine slows down an agent that floods.
    * When the iteration is cancelled or closed, interrupt the agent's work and release the turn's connections and
      processes, in a few seconds: after that the agent is closed, although the turn has not ended, and not used again.
    * Raise `AgentError` if the agent cannot be reached, fails without saying so in an event, or breaks the protocol.
      Any other exception is an internal error: it is logged, and clients read nothing of it.
    * Rely on nothing in memory: an agent may be replaced between two turns. The input has the whole conversation, and
      `save_state` stores what is worth more than that.
    """

    @abstractmethod
    def run(self, turn: Turn) -> AsyncIterator[bytes]:
        """Take a turn and yield its events; raise `AgentError`."""

    @abstractmethod
    async def close(self) -> None:
        """Release everything that outlives a turn."""
