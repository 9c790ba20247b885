"""Agents that sessions can choose, and what they offer."""

from enum import StrEnum

from app.models.wire import WireModel


class AgentKind(StrEnum):
    """How an agent is reached. `unknown` is for a later server: this one does not send it."""

    DEMO = "demo"
    AGUI = "agui"
    ACP = "acp"
    RUNNER = "runner"
    UNKNOWN = "unknown"


class AgentChoice(WireModel):
    """A model or a mode that an agent offers; `id` is what a session asks for."""

    id: str
    name: str | None = None
    description: str | None = None


class AgentOffer(WireModel):
    """The offers of an agent for one of its sessions, and the ids of the model and the mode that are in use there."""

    models: list[AgentChoice]
    modes: list[AgentChoice]
    model: str | None = None
    mode: str | None = None


class AgentSummary(WireModel):
    """An agent of the server; `reason` says why it is not available.

    `sandboxed` is None if it is no process of the server's. Models and modes are None until they are known.
    """

    name: str
    kind: AgentKind
    default: bool
    available: bool
    title: str | None = None
    reason: str | None = None
    sandboxed: bool | None = None
    models: list[AgentChoice] | None = None
    modes: list[AgentChoice] | None = None


class AgentList(WireModel):
    """All agents of the server, the default one first."""

    items: list[AgentSummary]
