"""Kinds of agents that the embedded backend runs, one file each, behind the port of `app.agents.port`."""
