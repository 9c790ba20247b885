"""The port between the engine and agents: one turn in, AG-UI events out."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from app.models.agents import AgentOffer
from app.models.approvals import DENIED, ApprovalDecision, ApprovalRequest

RequestApproval = Callable[[ApprovalRequest], Awaitable[ApprovalDecision]]


async def _deny(_request: ApprovalRequest) -> ApprovalDecision:
    return DENIED


async def _discard(_value: object) -> None:
    pass


async def _no_file(_path: str) -> None:
    pass


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an agent gets for one run."""

    input: dict[str, Any]
    """An AG-UI RunAgentInput in camelCase with threadId, runId, state, messages, tools, context and forwardedProps.

    `messages` is the whole conversation of the thread, in which content parts refer to files of the workspace
    (`content_parts`). A run that answers interrupts also has `resume`.
    """
    read_file: Callable[[str], Awaitable[bytes | None]] = _no_file
    """Reads a file of the workspace by its relative path; None if there is none, or more than `max_attachments`."""
    max_attachments: int = 10 * 2**20
    """The most bytes of files that the agent gets with the turn."""
    workspace: Path
    """The directory in which the session works."""
    writable: Sequence[Path] = ()
    """Other paths that its processes may write to: directories of git for a worktree."""
    readable: Sequence[Path] = ()
    """Other paths that its processes may read."""
    home: Path
    """The home of the session's processes, made when it is first needed."""
    environment: dict[str, str]
    """The variables that the session adds to the agent's environment."""
    log: Callable[[str], None] = lambda _text: None
    """Writes whole lines to the session's text log: the output of the agent's process besides its events."""
    new_messages: int = 1
    """How many of the last messages are new with this run."""
    request_approval: RequestApproval = _deny
    """Waits for the decision on an approval within the turn. Cancel it when the decision is no longer needed."""
    model: str | None = None
    """The model that the session selects; None leaves the agent's own choice."""
    mode: str | None = None
    """The mode that the session selects; None leaves the agent's own choice."""
    note_offer: Callable[[AgentOffer], Awaitable[None]] = _discard
    """Takes what the agent offers and what is in use, once that is known and whenever it changes."""
    saved_state: str | None = None
    """The text last given to `save_state` in this thread; it outlives the agent and the server."""
    save_state: Callable[[str], Awaitable[None]] = _discard
    """Stores a text for later turns of this thread."""


class AgentError(Exception):
    """The agent could not be reached or broke the protocol. Clients read the message and the `code`, if any."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


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
