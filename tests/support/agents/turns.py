"""Turns as the engine makes them for an agent, and checks of the events that the agent yields."""

from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
from ag_ui.core import BaseEvent, Event
from pydantic import TypeAdapter

from app.agents.agui import AguiAgent
from app.agents.demo import DemoAgent
from app.agents.port import Turn

_events: TypeAdapter[BaseEvent] = TypeAdapter(Event)


def turn(*conversation: str | dict[str, Any], workspace: Path = Path("/nonexistent")) -> Turn:
    """Return a turn with these messages; a plain string is a message of the user."""
    messages = [
        {"id": f"m{number}", "role": "user", "content": message} if isinstance(message, str) else message
        for number, message in enumerate(conversation)
    ]
    return Turn(
        input={
            "threadId": "thread-1",
            "runId": "run-1",
            "state": {},
            "messages": messages,
            "tools": [],
            "context": [],
            "forwardedProps": {},
        },
        workspace=workspace,
        home=workspace.parent / "home",
        environment={},
    )


async def events_of(agent: AguiAgent | DemoAgent, turn_: Turn) -> list[dict[str, Any]]:
    """Take a turn and return its events, each checked."""
    async with aclosing(agent.run(turn_)) as stream:
        return [checked(event) async for event in stream]


def checked(event: bytes) -> dict[str, Any]:
    """Decode an event; fail unless it is valid by the protocol's own models, and has no field that they do not know."""
    decoded: dict[str, Any] = msgspec.json.decode(event)
    assert not _events.validate_python(decoded).model_extra
    return decoded


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT")


def types_of(events: list[dict[str, Any]]) -> list[str]:
    """Return the types in order, without immediate repetitions."""
    types = [event["type"] for event in events]
    return [type_ for previous, type_ in zip([None, *types], types, strict=False) if type_ != previous]
