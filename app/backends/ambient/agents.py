"""Agents of the platform: its types of runners."""

import asyncio

from app.backends.ambient import mapping
from app.backends.ambient.api import PlatformApi
from app.models.agents import AgentList
from app.models.caller import Caller
from app.port.agents import Agents

MAX_AGENTS = 100
MAX_MODELS = 1000


class AmbientAgents(Agents):
    """Operations on the types of runners."""

    def __init__(self, platform: PlatformApi) -> None:
        self._platform = platform

    async def list_agents(self, caller: Caller) -> AgentList:
        """Return the platform's types of runners with their models, the default one first."""
        runners, models = await asyncio.gather(self._platform.runner_types(caller), self._platform.models(caller))
        # Each has all models of its provider, so a platform with too many would make a list without bounds.
        some = models[:MAX_MODELS]
        found = [agent for runner in runners[:MAX_AGENTS] if (agent := mapping.agent(runner, some))]
        return AgentList(items=sorted(found, key=lambda agent: not agent.default))
