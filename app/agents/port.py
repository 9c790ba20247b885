"""The port between the engine and an agent: one turn in, AG-UI events out."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from app.models.approvals import DENIED, ApprovalDecision, ApprovalRequest

RequestApproval = Callable[[ApprovalRequest], Awaitable[ApprovalDecision]]


async def deny(_question: ApprovalRequest) -> ApprovalDecision:
    """Nobody is there to be asked."""
    return DENIED


async def _discard(_memory: str) -> None:
    """Keep nothing."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an agent gets for one run.

    `input` is an AG-UI RunAgentInput (camelCase, all of threadId, runId, state, messages, tools, context and
    forwardedProps present) whose messages are the whole conversation of the thread. `workspace` is the session's
    own directory, `environment` what the session adds to the agent's environment. `tell` takes what the agent's process
    says beside its events, in whole lines, for the session's log. The last `new_messages` of the messages are new
    with this run. `ask` takes a question within the turn and returns when it is answered, by whomever; who cancels it
    wants no answer any more. `model` is the one that the session asks for. `memory` is what the agent has last given to
    `remember` in this thread; it outlives the agent and the server.
    """

    input: dict[str, Any]
    workspace: Path
    environment: dict[str, str]
    log: Callable[[str], None] = lambda _text: None
    new_messages: int = 1
    request_approval: RequestApproval = deny
    model: str | None = None
    saved_state: str | None = None
    save_state: Callable[[str], Awaitable[None]] = _discard


class AgentError(Exception):
    """The agent could not be reached or broke the protocol; the message is fit for a client to read."""


class Agent(ABC):
    """One agent for one session; `run` is never called twice at once."""

    @abstractmethod
    def run(self, turn: Turn) -> AsyncIterator[bytes]:
        """Yield each AG-UI event of the turn as JSON bytes, as the agent wrote it; raise AgentError.

        Cancelling the iteration interrupts the agent: it must let go of every connection and process of the turn.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of everything that outlives a turn."""
