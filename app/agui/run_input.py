"""AG-UI run inputs: what a client sends, made into what an agent gets."""

from collections.abc import Collection
from typing import Any

from app.agui.client_stream import _encode
from app.agui.messages import last_user_text, snapshot_messages


def normalize_run_input(given: dict[str, Any], *, thread_id: str, known: Collection[str]) -> dict[str, Any]:
    """The RunAgentInput that an agent gets: our thread, of the messages those that are new, everything else as it came.

    What AG-UI 0.1 asks for and 1.0 does not is filled in.
    """
    new = [message for message in given["messages"] if message["id"] not in known]
    absent: dict[str, Any] = {"state": {}, "tools": [], "context": [], "forwardedProps": {}}
    return absent | given | {"threadId": thread_id, "messages": new}


def last_user_message(run_input: dict[str, Any]) -> str | None:
    """What the user says in a RunAgentInput, last."""
    return last_user_text(snapshot_messages(_encode({"messages": run_input["messages"]})))
