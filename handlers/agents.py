"""Agents: list those that sessions can choose."""

from app.models.agents import AgentList
from app.models.caller import Caller
from app.port.backend import Backend


async def list_agents(backend: Backend, caller: Caller) -> AgentList:
    """List the agents that a session can choose."""
    return await backend.agents.list_agents(caller)
