"""The agents that the engine can run, one module or package for each kind, behind `app.agents.port`."""
