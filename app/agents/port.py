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
    """Writes whole lines to the session's text log: the output of the agent's process besides its events."""
    new_messages: int = 1
    """How many of the last messages are new with this run."""
    request_approval: RequestApproval = _deny
    """Waits for the decision on an approval within the turn. Cancel it when the decision is no longer needed."""
    model: str | None = None
    """The model that the session selects."""
    saved_state: str | None = None
    """The text last given to `save_state` in this thread; it outlives the agent and the server."""
    save_state: Callable[[str], Awaitable[None]] = _discard
    """Stores a text for later turns of this thread."""


class AgentError(Exception):
    """The agent could not be reached or broke the protocol. Clients read the message."""


class Agent(ABC):
    """An agent for one session. It takes one turn at a time. Whoever implements it has these duties:

    * Yield AG-UI events and nothing else, each as one JSON object in UTF-8, unchanged if it is the agent's own. The
      engine replaces the run's and the thread's id, and adds missing timestamps and a missing first or last event.
    * Read no further ahead than a bounded buffer: the engine slows down an agent that floods it.
    * If the iteration is cancelled or closed, interrupt the agent and release the turn's connections and processes
      within a few seconds. After that the engine closes the agent in the middle of its turn and makes a new one.
    * Raise `AgentError` if the agent cannot be reached, fails without an event for it, or breaks the protocol. Any
      other exception is an internal error: it is logged, and clients do not see it.
    * Expect to be replaced between two turns. The input has the whole conversation; what else must survive goes to
      `save_state`.
    """

    @abstractmethod
    def run(self, turn: Turn) -> AsyncIterator[bytes]:
        """Take a turn and yield its events; raise `AgentError`."""

    @abstractmethod
    async def close(self) -> None:
        """Release everything that outlives a turn."""
