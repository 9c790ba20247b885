"""`agents`: the agents that this machine can run, and how to get those that are missing."""

import os

import typer

from app.cli.startup import load_settings


def list_agents() -> None:
    """List the agents of this server and those that it knows by name: name, use, state and next step.

    It looks at this machine alone and does not need a server. `AGENT` and `AGENTS` take the names.
    """
    from app.agent_definition import find_known
    from app.agents.registry import find_obstacle
    from app.known_agents import KNOWN_AGENTS
    from app.sandbox.programs import find_program

    settings = load_settings()
    offered = settings.agent_definitions
    for name in (*offered, *(name for name in KNOWN_AGENTS if name not in offered)):
        definition = offered.get(name) or find_known(name)
        if definition is None:
            continue
        use = "-" if name not in offered else "default" if name == settings.agent.name else "offered"
        if obstacle := find_obstacle(definition):
            state, step = "missing", obstacle
        elif definition.kind == "acp":
            state, step = "installed", _sign_in(name, definition.env, find_program(definition.command[0]))
        else:
            state, step = "ready", definition.url or "built in"
        typer.echo(f"{name}\t{use}\t{state}\t{step}")


def _sign_in(name: str, variables: tuple[str, ...], program: str) -> str:
    """Return where an agent is, and the variables by which it signs in or else how to sign in."""
    from app.known_agents import KNOWN_AGENTS

    known = KNOWN_AGENTS.get(name)
    found = [variable for variable in variables if os.environ.get(variable)]
    if found:
        return f"{program}, with {', '.join(found)}"
    if known is None:
        return program
    return f"{program}; unless you have signed in, set {known.env[0]} or run: {known.sign_in}"
