"""AG-UI on the wire: a client's RunAgentInput made one of ours, and a run's events as any AG-UI client takes them."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec

from app.agui.decode import Event, decode_one
from app.agui.endings import ending
from app.agui.lenient import Json, members, reader
from app.agui.messages import last_user_text, snapshot_messages
from app.agui.names import Names
from app.agui.terminal import OpenParts, run_error, run_started

_encode = msgspec.json.encode
_NAMES_ITS_RUN = frozenset({"RUN_STARTED", "RUN_FINISHED"})
_list: Callable[[Json], list[msgspec.Raw] | None] = reader(list[msgspec.Raw])


def as_ours(given: dict[str, Any], *, thread_id: str, known: Collection[str]) -> dict[str, Any]:
    """The RunAgentInput that an agent gets: our thread, of the messages those that are new, everything else as it came.

    What AG-UI 0.1 asks for and 1.0 does not is filled in.
    """
    new = [message for message in given["messages"] if message["id"] not in known]
    absent: dict[str, Any] = {"state": {}, "tools": [], "context": [], "forwardedProps": {}}
    return absent | given | {"threadId": thread_id, "messages": new}


def asked(run_input: dict[str, Any]) -> str | None:
    """What the user says in a RunAgentInput, last."""
    return last_user_text(snapshot_messages(_encode({"messages": run_input["messages"]})))


class WellFormed:
    """The events of one run, made such that a strict client takes them: `thread_id` is the client's own.

    RUN_STARTED comes first, nothing starts in the middle of a message, no member is null, what is open is closed before
    the run ends, and exactly one terminal event, after which `ended` is True, ends it. A client takes a snapshot of the
    messages for all there is: where agents restate only their run, `conversation` is what the client knew before. Times
    in ms.
    """

    def __init__(self, thread_id: str, run_id: str, conversation: Sequence[dict[str, Any]] = ()) -> None:
        self.ended = False
        self._conversation = conversation
        self._thread_id = thread_id
        self._run_id = run_id
        self._started = False
        self._early: list[bytes] = []
        self._parts = OpenParts()
        self._names = Names(run_id)

    def take(self, raw: Json, now: int) -> list[bytes]:
        """What the client gets for the run's next event; nothing for one that has no place where it stands."""
        event = decode_one(raw, 0)
        values = members(raw)
        if self.ended or event is None or values is None or not event.type:
            return []
        starts = event.type == "RUN_STARTED"
        if starts and self._started:
            return []
        if event.type == "RAW" and not self._started:
            self._early.append(_encode(_plain(values, event.type)))
            return []
        news = [] if starts else self._opening(now)
        self._started = True
        present = _plain(values, event.type)
        changes = self._ids(event, present) | self._message(event) | self._snapshot(event, present)
        if not self._parts.fits(event):
            return news
        self._parts.observe(event)
        if ending(event):
            news += self._closing(now)
            self.ended = True
        changes = {name: value for name, value in changes.items() if bytes(present.get(name, b"")) != _encode(value)}
        news.append(_encode(present | changes) if changes or len(present) < len(values) else bytes(raw))
        return [*news, *self._early] if starts else news

    def break_off(self, message: str, code: str, now: int) -> list[bytes]:
        """The end for a client that will not see that of the run; nothing if it has."""
        if self.ended:
            return []
        self.ended = True
        error = run_error(self._thread_id, self._run_id, message, code, now)
        return [*self._opening(now), *self._closing(now), _encode(_plain(members(error) or {}, "RUN_ERROR"))]

    def _opening(self, now: int) -> list[bytes]:
        if self._started:
            return []
        self._started = True
        return [run_started(self._thread_id, self._run_id, None, now), *self._early]

    def _closing(self, now: int) -> list[bytes]:
        closing = self._parts.close(self._thread_id, self._run_id, now)
        return [_encode(_plain(members(event) or {}, None)) for event in closing]

    def _ids(self, event: Event, values: dict[str, msgspec.Raw]) -> dict[str, Any]:
        """The client's own ids where the protocol has them."""
        if event.type not in _NAMES_ITS_RUN:
            return {}
        ids = {"threadId": self._thread_id, "runId": self._run_id}
        told = members(values.get("input", b"")) if event.type == "RUN_STARTED" else None
        return ids if told is None else {**ids, "input": {**told, **ids}}

    def _message(self, event: Event) -> dict[str, Any]:
        """An id for a message that has none, as the thoughts of some agents; the role that thoughts must have."""
        changes: dict[str, Any] = {"role": "reasoning"} if event.type == "REASONING_MESSAGE_START" else {}
        if made := self._names.missing(event):
            event.message_id = changes["messageId"] = made
        return changes

    def _snapshot(self, event: Event, values: dict[str, msgspec.Raw]) -> dict[str, Any]:
        """The messages of a snapshot behind those of the conversation that it does not restate."""
        restated = _list(values.get("messages", b"")) if event.type == "MESSAGES_SNAPSHOT" else None
        if restated is None:
            return {}
        ids = {message.id for message in snapshot_messages(event.raw)}
        before = [message for message in self._conversation if message["id"] not in ids]
        return {"messages": [*before, *restated]} if before else {}


def _plain(values: dict[str, msgspec.Raw], type_: str | None) -> dict[str, msgspec.Raw]:
    """The members of an event without null ones, and without the run's ids where the log adds them to the protocol."""
    added = () if type_ in _NAMES_ITS_RUN else ("threadId", "runId", "thread_id", "run_id")
    return {name: value for name, value in values.items() if name not in added and bytes(value) != b"null"}
