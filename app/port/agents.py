"""The port's agents."""

from abc import ABC, abstractmethod

from app.models.agents import AgentList
from app.models.caller import Caller


class Agents(ABC):
    """Operations on the agents that sessions can choose. The duties of `Backend` apply."""

    @abstractmethod
    async def list_agents(self, caller: Caller) -> AgentList:
        """Return the agents that sessions can choose, the default one first. (GET /v1/agents)

        Raises `NotSupported`.
        """
