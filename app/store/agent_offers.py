"""SQL of agent offers: the models and modes that each agent has offered last, whatever the session."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, select, update

from app.models.agents import AgentOffer
from app.store.dialect import insert_new
from app.store.tables import AGENT_OFFERS

_decode = msgspec.json.Decoder(AgentOffer).decode


def find(connection: Connection, agents: Sequence[str]) -> dict[str, AgentOffer]:
    """Return what those agents have offered last, by agent; those that have not been used yet are left out."""
    query = select(AGENT_OFFERS.c.agent, AGENT_OFFERS.c.offer).where(AGENT_OFFERS.c.agent.in_(agents))
    return {agent: _decode(offer) for agent, offer in connection.execute(query)}


def save(connection: Connection, agent: str, offer: AgentOffer) -> None:
    """Store what an agent offers in place of what it has offered before."""
    encoded = msgspec.json.encode(offer)
    if not insert_new(connection, AGENT_OFFERS, {"agent": agent, "offer": encoded}):
        connection.execute(update(AGENT_OFFERS).where(AGENT_OFFERS.c.agent == agent).values(offer=encoded))
