"""Turns as the engine hands them to an agent, and what tests ask of the answer."""

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


def turn(*said: str | dict[str, Any], workspace: Path = Path("/nonexistent")) -> Turn:
    """A turn whose conversation is these messages; a plain string is the user's."""
    messages = [
        {"id": f"m{number}", "role": "user", "content": message} if isinstance(message, str) else message
        for number, message in enumerate(said)
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
        environment={},
    )


async def events_of(agent: AguiAgent | DemoAgent, this: Turn) -> list[dict[str, Any]]:
    """Run a turn to its end; every event is valid by the protocol's own models, with nothing unknown in it."""
    async with aclosing(agent.run(this)) as stream:
        return [checked(event) async for event in stream]


def checked(event: bytes) -> dict[str, Any]:
    """Decode an event; the models allow extra fields, so a field of no model's is looked for here."""
    decoded: dict[str, Any] = msgspec.json.decode(event)
    assert not _events.validate_python(decoded).model_extra
    return decoded


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT")


def types_of(events: list[dict[str, Any]]) -> list[str]:
    """The types in order, repeated ones once."""
    types = [event["type"] for event in events]
    return [type_ for previous, type_ in zip([None, *types], types, strict=False) if type_ != previous]
