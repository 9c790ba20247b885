"""The agents that sessions can choose: those of this process, or those that workers name."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

import msgspec

from app.agents.registry import AgentRegistry
from app.models.agents import AgentSummary
from app.store import workers
from app.store.database import Database
from app.store.workers import WorkerAgent, WorkerRow

FRESH_SECONDS = 1.0
"""How long the offers of workers are remembered."""
_AWAY = "No worker with this agent is there now."


class AgentCatalog(ABC):
    """The agents by name, the default one first."""

    @abstractmethod
    async def names(self) -> Sequence[str]:
        """Return the names; none where no worker has ever been there."""

    @abstractmethod
    async def summaries(self) -> list[AgentSummary]:
        """Return the agents as clients see them, without what they offer."""

    @abstractmethod
    async def kind(self, name: str | None) -> str:
        """Return the kind of an agent, None for the default one; empty if it is unknown."""

    @abstractmethod
    async def offer_keys(self, name: str) -> Sequence[str] | None:
        """Return the keys of an agent's stored offers; None if it offers no choice."""

    @abstractmethod
    async def are_sandboxed(self) -> bool:
        """Return whether agents are confined wherever they run."""


class LocalCatalog(AgentCatalog):
    """The agents of a registry."""

    def __init__(self, registry: AgentRegistry) -> None:
        self._registry = registry

    async def names(self) -> Sequence[str]:
        """See `AgentCatalog`."""
        return [*self._registry.definitions]

    async def summaries(self) -> list[AgentSummary]:
        """See `AgentCatalog`; the agents' commands are looked for on the disk."""
        return await asyncio.to_thread(self._registry.summaries)

    async def kind(self, name: str | None) -> str:
        """See `AgentCatalog`."""
        definition = self._registry.definitions.get(name or self._registry.default)
        return definition.kind if definition else ""

    async def offer_keys(self, name: str) -> Sequence[str] | None:
        """See `AgentCatalog`."""
        key = self._registry.key(name)
        return None if key is None else [key]

    async def are_sandboxed(self) -> bool:
        """See `AgentCatalog`."""
        return self._registry.sandbox.in_force


class WorkersCatalog(AgentCatalog):
    """The agents of the workers that are there; while none is, those of the workers that were."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read_at = float("-inf")
        self._known: list[WorkerRow] = []

    async def names(self) -> Sequence[str]:
        """See `AgentCatalog`."""
        return [*await self._agents()]

    async def summaries(self) -> list[AgentSummary]:
        """See `AgentCatalog`; an agent is available if it is on any worker."""
        is_any_there = any(worker.is_alive for worker in await self._workers())
        found = [_summary(agents) for agents in (await self._agents()).values()]
        for number, summary in enumerate(found):
            summary.default = number == 0
            if not is_any_there:
                summary.available, summary.reason = False, _AWAY
        return found

    async def kind(self, name: str | None) -> str:
        """See `AgentCatalog`."""
        agents = await self._agents()
        found = agents.get(name or next(iter(agents), ""), ())
        return next((agent.summary.kind.value for agent in found), "")

    async def offer_keys(self, name: str) -> Sequence[str] | None:
        """See `AgentCatalog`."""
        return [agent.offer_key for agent in (await self._agents()).get(name, ()) if agent.offer_key] or None

    async def are_sandboxed(self) -> bool:
        """See `AgentCatalog`."""
        return all(worker.offer.sandboxed for worker in await self._workers())

    async def _agents(self) -> dict[str, list[WorkerAgent]]:
        """Return the agents of all workers by their names."""
        agents: dict[str, list[WorkerAgent]] = {}
        for worker in await self._workers():
            for agent in worker.offer.agents:
                agents.setdefault(agent.summary.name, []).append(agent)
        return agents

    async def _workers(self) -> list[WorkerRow]:
        if time.monotonic() - self._read_at > FRESH_SECONDS:
            known = await self._database.read(workers.known)
            self._known = [each for each in known if each.is_alive] or known
            self._read_at = time.monotonic()
        return self._known


def _summary(agents: Sequence[WorkerAgent]) -> AgentSummary:
    """Return one agent of several workers; it is confined if it is on each of them."""
    best = next((agent for agent in agents if agent.summary.available), agents[0]).summary
    confined = [agent.summary.sandboxed for agent in agents]
    return msgspec.structs.replace(best, sandboxed=None if None in confined else all(confined))
