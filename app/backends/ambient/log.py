"""Reading a session's log out of the platform's export; all of it is heavy work, to be done in a thread.

A body of None stands for the log of a session in which nothing has run yet.
"""

import codecs
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from app.agui.compact import compact
from app.agui.decode import Event, decode
from app.agui.page import cut
from app.agui.runs import summaries as runs_of
from app.agui.select import of_run
from app.agui.transcript import transcript
from app.backends.ambient.failures import translated
from app.backends.ambient.texts import clean
from app.errors import BackendUnavailable, CursorAhead, RunNotFound
from app.types import EventLog, OutputFormat, Page, RunSummary, Transcript

CHUNK = 1 << 20


class _Export(msgspec.Struct):
    events: list[msgspec.Raw] | None = msgspec.field(name="aguiEvents", default=None)


_decoder = msgspec.json.Decoder(_Export)


def entries(body: bytes | None) -> list[msgspec.Raw]:
    """The entries of `aguiEvents` in order, none where it is null, missing or no list; what they hold is not looked at.

    A body that is no JSON object in UTF-8 raises BackendUnavailable.
    """
    if body is None:
        return []
    with translated():
        _check_utf8(body)
        try:
            return _decoder.decode(body).events or []
        except msgspec.ValidationError:
            other: Any = msgspec.json.decode(body)
    if not isinstance(other, dict):
        raise BackendUnavailable
    return []


def _check_utf8(body: bytes) -> None:
    """Raise UnicodeError unless the body is UTF-8; in chunks, since the whole as text may take four times its room."""
    if body.isascii():
        return
    decoder, view = codecs.getincrementaldecoder("utf-8")(), memoryview(body)
    for start in range(0, len(body), CHUNK):
        decoder.decode(view[start : start + CHUNK])
    decoder.decode(b"", final=True)


def summaries(body: bytes | None, *, session_running: bool) -> list[RunSummary]:
    """The runs of a log in the order of their start, their errors fit for a client to read."""
    runs = runs_of(decode(entries(body)), session_running=session_running)
    for run in runs:
        if run.error is not None:
            run.error = clean(run.error, "Run failed")
    return runs


def has_run(body: bytes | None, run_id: str) -> bool:
    """Whether the log has an event of the run."""
    return any(True for _ in of_run(decode(entries(body)), run_id))


def output(
    body: bytes | None,
    session_id: str,
    format: OutputFormat,
    run_id: str | None,
    page: Page | None = None,
    *,
    run_accepted: bool,
) -> Transcript | EventLog:
    """The log, or one run of it, in a format, or a page of that.

    RunNotFound for a run that is neither in it nor accepted, CursorAhead for a page that begins behind its end.
    """
    events = list(decode(entries(body)))
    end = len(events)
    if run_id is not None:
        events = list(of_run(events, run_id))
        if not events and not run_accepted:
            raise RunNotFound
    if page and page.after > end:
        raise CursorAhead
    if format is OutputFormat.TRANSCRIPT:
        return Transcript(session_id=session_id, format=format, messages=transcript(events))
    found, next_after = _page(events, page, compacted=format is OutputFormat.COMPACT)
    return EventLog(session_id=session_id, format=format, events=[event.raw for event in found], next_after=next_after)


def _page(events: list[Event], page: Page | None, *, compacted: bool) -> tuple[list[Event], int | None]:
    """Those of the events that are on the page, all without one, and where it goes on if it does."""
    after = page.after if page else 0
    behind: Iterable[Event] = (event for event in events if event.position > after)
    behind = compact(behind) if compacted else behind
    found = list(cut(behind, page) if page else behind)
    more = bool(found) and found[-1].position < events[-1].position
    return found, found[-1].position if more else None


class Log(msgspec.Struct, frozen=True):
    """A log as it was read at a time: `begun` (of the event loop, s), its entries and events, the session's state.

    `last` is the last entry, by which a log that was rewritten is told from one that has grown.
    """

    begun: float = -1.0
    running: bool = False
    entries: int = 0
    last: bytes = b""
    events: Sequence[Event] = ()


def extended(known: Log, body: bytes | None, *, begun: float, running: bool) -> Log:
    """The log that an export holds; only what the known one does not have is decoded."""
    raws = entries(body)
    grown = len(raws) >= known.entries and (known.entries == 0 or bytes(raws[known.entries - 1]) == known.last)
    before, new = (known.events, raws[known.entries :]) if grown else ((), raws)
    # Copied, since an entry would keep the whole export in memory.
    news = list(decode((raw.copy() for raw in new), first=len(before) + 1))
    last = bytes(raws[-1]) if raws else b""
    events = [*before, *news] if news else before
    return Log(begun=begun, running=running, entries=len(raws), last=last, events=events)
