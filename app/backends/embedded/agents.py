"""Agents of the embedded backend: those that sessions can choose, with what they have offered at their last use."""

from app.engine.agent_catalog import AgentCatalog
from app.errors import BadRequest, Detail, NotSupported
from app.models.agents import AgentList, AgentOffer
from app.models.caller import Caller
from app.port.agents import Agents
from app.store import agent_offers
from app.store.database import Database

NO_CHOICE = AgentOffer(models=[], modes=[])


class EmbeddedAgents(Agents):
    """Operations on the agents of a catalog."""

    def __init__(self, database: Database, catalog: AgentCatalog) -> None:
        self._database = database
        self._catalog = catalog

    async def list_agents(self, caller: Caller) -> AgentList:  # noqa: ARG002 - all callers have the same
        """Return the agents with what they offer."""
        agents = await self._catalog.summaries()
        for agent in agents:
            if offer := await self._offer(agent.name):
                agent.models, agent.modes = offer.models, offer.modes
        return AgentList(items=agents)

    async def require(self, name: str | None) -> str | None:
        """Return the name of an agent that a client has chosen, or of the default one; raise `BadRequest`.

        None while no agent is known: the default one of the first worker then.
        """
        names = await self._catalog.names()
        if name is not None and name not in names:
            known = f"must be one of {', '.join(names)}" if names else "is not known yet, since no worker has started"
            raise BadRequest(details=[Detail("body.agent", known)])
        return name or next(iter(names), None)

    async def require_choice(self, agent: str, *, model: str | None, mode: str | None) -> None:
        """Raise `NotSupported` for a model or a mode if it is known that the agent offers no choice of them."""
        offer = await self._offer(agent) if model or mode else None
        if offer and model and not offer.models:
            raise NotSupported(f"The agent {agent} offers no choice of models.")
        if offer and mode and not offer.modes:
            raise NotSupported(f"The agent {agent} offers no choice of modes.")

    async def _offer(self, agent: str) -> AgentOffer | None:
        """Return what an agent offers, None if that is not known yet."""
        keys = await self._catalog.offer_keys(agent)
        if keys is None:
            return NO_CHOICE
        offers = await self._database.read(agent_offers.find, keys)
        return next((offers[key] for key in keys if key in offers), None)
