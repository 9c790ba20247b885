"""Which messages a log knows already, by all the ids that a client may give them."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec

from app.agui.events import Event, decode_one
from app.agui.lenient import Json, Lenient, members, reader
from app.agui.lifecycle_events import OpenParts, run_error, run_started
from app.agui.messages import StoredMessage, input_messages, snapshot_messages
from app.agui.outcome import outcome
from app.clock import now_ms
from app.errors import ApiError
from app.models.output import OutputFormat
from app.models.runs import AcceptedRun
from app.results import EventStream, StreamEvent

_STEMS = frozenset({"REASONING", "REASONING_MESSAGE", "TEXT_MESSAGE"})


class GeneratedIds:
    """Makes them for the events of one run, taken in order."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._count = 0
        self._made: dict[str, str] = {}

    def missing(self, event: Event) -> str | None:
        """The message id that the event ought to have; None if it has one or is no part of a message."""
        stem, _, step = (event.type or "").rpartition("_")
        if event.message_id is not None or stem not in _STEMS:
            return None
        if step == "START":
            self._count += 1
            self._made[stem] = f"{self._run_id}-{self._count}"
        return self._made.get(stem)


class _KnownCall(msgspec.Struct, gc=False):
    parent_id: str | None = msgspec.field(name="parentMessageId", default=None)


_known_call = Lenient(_KnownCall)


def known_ids(events: Iterable[Event]) -> set[str]:
    """The ids of the messages that these events say, restate or were given.

    A message without an id has the one that `Names` makes. A client that is not told in which message a tool call
    stands makes one with the id of the call.
    """
    names: dict[str, GeneratedIds] = {}
    return {id for event in events for id in _known_ids(event, names) if id}


def _known_ids(event: Event, names: dict[str, GeneratedIds]) -> Iterator[str | None]:
    yield event.message_id
    if event.run_id:
        yield names.setdefault(event.run_id, GeneratedIds(event.run_id)).missing(event)
    if event.type == "TOOL_CALL_START":
        yield event.tool_call_id
        call = _known_call(event.raw)
        yield call.parent_id if call else None
    for message in _known_messages(event):
        yield message.id


def _known_messages(event: Event) -> list[StoredMessage]:
    if event.type == "MESSAGES_SNAPSHOT":
        return snapshot_messages(event.raw)
    return input_messages(event.raw) if event.type == "RUN_STARTED" else []


_encode = msgspec.json.encode
_NAMES_ITS_RUN = frozenset({"RUN_STARTED", "RUN_FINISHED"})
_list: Callable[[Json], list[msgspec.Raw] | None] = reader(list[msgspec.Raw])


class StrictStream:
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
        self._names = GeneratedIds(run_id)

    def feed(self, raw: Json, now: int) -> list[bytes]:
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
        if outcome(event):
            news += self._closing(now)
            self.ended = True
        changes = {name: value for name, value in changes.items() if bytes(present.get(name, b"")) != _encode(value)}
        news.append(_encode(present | changes) if changes or len(present) < len(values) else bytes(raw))
        return [*news, *self._early] if starts else news

    def abort(self, message: str, code: str, now: int) -> list[bytes]:
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


_ABORTED = ("The events of the run ended before the run did.", "run_broke_off")
_STOPS = ("The server stops; what becomes of the run can be read later.", "server_restarted")


def client_stream(
    run: AcceptedRun,
    thread_id: str,
    follow: Callable[..., Awaitable[EventStream]],
    conversation: Sequence[dict[str, Any]] = (),
) -> EventStream:
    """The stream of an accepted run for a client that calls the thread `thread_id`; for both see `WellFormed`.

    `follow` opens the stream of a `run_id` in a `format`. It is called once the client reads, when it is too late for
    an HTTP error: from then on what goes wrong is a RUN_ERROR.
    """
    form = StrictStream(thread_id, run.run_id, conversation)
    events = partial(follow, run_id=run.run_id, format=OutputFormat.EVENTS)
    return EventStream(_pages(form, events), on_shutdown=lambda: _frames(form.abort(*_STOPS, now_ms())))


async def _pages(
    form: StrictStream, follow: Callable[[], Awaitable[EventStream]]
) -> AsyncGenerator[list[StreamEvent], None]:
    try:
        pages = (await follow()).pages
        try:
            async for page in pages:
                yield [frame for each in page for frame in _frames(form.feed(each.event, now_ms()), each.position)]
                if form.ended:
                    return
        finally:
            await pages.aclose()
        yield _frames(form.abort(*_ABORTED, now_ms()))
    except ApiError as error:
        yield _frames(form.abort(str(error), error.code, now_ms()))


def _frames(events: list[bytes], position: int | None = None) -> list[StreamEvent]:
    """The last of the events is the one at that position."""
    return [StreamEvent(event) for event in events[:-1]] + [StreamEvent(event, position) for event in events[-1:]]
