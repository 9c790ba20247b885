"""Transcripts as they are sent: in pieces, their texts as the log has them."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agui import renderers
from app.agui.events import FULL_EVENTS, EventBatch, EventDecoder
from app.agui.renderers import EventLogWriter, TranscriptWriter
from app.agui.run_filter import RunFilter
from app.errors import RunNotFound
from app.models.output import Message, OutputFormat, Transcript
from tests.support.agui_samples import PLATFORM_RUN, deltas, hostile_events, raw

whole_events = hostile_events.filter(lambda entry: rb"\ud83d" not in entry)  # such an export is no JSON to the decoder


def told(*raws: bytes, run_id: str | None = None) -> list[bytes]:
    """The pieces of a transcript, of which each entry came by itself."""
    telling = TranscriptWriter("s1", RunFilter(run_id), session_running=False)
    for entry in raws:
        telling.feed(EventBatch(b"[%b]" % entry, FULL_EVENTS))
    return list(telling.pieces())


def said(*texts: str) -> Iterable[bytes]:
    return (raw("TEXT_MESSAGE_CHUNK", messageId=f"m{number}", delta=text) for number, text in enumerate(texts))


@pytest.mark.parametrize(("size", "together"), [(1, 1), (150, 2), (1 << 17, 1000)])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_the_pieces_of_a_transcript_are_the_whole(
    size: int, together: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renderers, "PIECE", size)
    pieces = told(*said(*["x" * 60] * count))
    messages = [Message(id=f"m{number}", role="assistant", content="x" * 60) for number in range(count)]
    whole = Transcript(session_id="s1", format=OutputFormat.TRANSCRIPT, messages=messages)
    assert b"".join(pieces) == msgspec.json.encode(whole)
    assert all(pieces)
    assert len(pieces) == count // together + 1


def test_an_unknown_run_is_an_error_before_the_first_piece() -> None:
    with pytest.raises(RunNotFound):
        told(*PLATFORM_RUN, run_id="never heard of")


def written(format: OutputFormat, raws: list[bytes], sizes: list[int], run_id: str | None) -> object:
    """What an answer tells whose entries come in slices of these sizes, the last of them again and again."""
    events = RunFilter(run_id, accepted=True)
    if format is OutputFormat.TRANSCRIPT:
        told = TranscriptWriter("s1", events, session_running=True)
        for entries in slices(raws, sizes, told.decoder):
            told.feed(entries)
        return json.loads(b"".join(told.pieces()))
    answer = EventLogWriter("s1", format, events)
    pieces = [answer.feed([entries]) for entries in slices(raws, sizes, answer.decoder)]
    return json.loads(b"".join([*pieces, *answer.finish()]))


def slices(raws: list[bytes], sizes: list[int], reading: EventDecoder[Any]) -> Iterator[EventBatch[Any]]:
    rest, sizes = list(raws), list(sizes)
    while rest:
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        yield EventBatch(b"[%b]" % b",".join(rest[:size]), reading)
        rest = rest[size:]


@pytest.mark.parametrize("run_id", [None, "r1"])
@pytest.mark.parametrize("format", [OutputFormat.TRANSCRIPT, OutputFormat.COMPACT, OutputFormat.EVENTS])
@given(st.lists(deltas | whole_events, max_size=25), st.lists(st.integers(1, 8), min_size=1, max_size=4))
def test_an_answer_is_the_same_in_whatever_slices_its_log_comes(
    format: OutputFormat, run_id: str | None, raws: list[bytes], sizes: list[int]
) -> None:
    assert written(format, raws, sizes, run_id) == written(format, raws, [1], run_id)


def test_texts_stay_as_they_are_written() -> None:
    written = rb"\u003cb\u003e \/ \"caf\u00e9\" \ud83d\ude80 " + "é🚀".encode()
    message = b'{"id":"m","role":"user","content":"%b","toolCalls":[{"id":"c","args":"%b","result":"%b"}]}'
    snapshot = b'{"type":"MESSAGES_SNAPSHOT","messages":[%b]}' % (message % (written, written, written))
    (piece,) = told(snapshot)
    assert piece.count(b'"%b"' % written) == 3
    assert msgspec.json.decode(piece)["messages"][0]["content"] == '<b> / "café" 🚀 é🚀'
