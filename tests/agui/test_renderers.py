"""Output as it is sent: the same for any batches, and transcripts in pieces with their texts as the log has them."""

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


def transcript_pieces(*raws: bytes, run_id: str | None = None) -> list[bytes]:
    """Return the pieces of a transcript whose entries arrived one by one."""
    writer = TranscriptWriter("s1", RunFilter(run_id), session_running=False)
    for entry in raws:
        writer.feed(EventBatch(b"[%b]" % entry, FULL_EVENTS))
    return list(writer.pieces())


def chunks(*texts: str) -> Iterable[bytes]:
    return (raw("TEXT_MESSAGE_CHUNK", messageId=f"m{number}", delta=text) for number, text in enumerate(texts))


@pytest.mark.parametrize(("size", "together"), [(1, 1), (150, 2), (1 << 17, 1000)])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_the_pieces_of_a_transcript_are_one_document(
    size: int, together: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renderers, "PIECE", size)
    pieces = transcript_pieces(*chunks(*["x" * 60] * count))
    messages = [Message(id=f"m{number}", role="assistant", content="x" * 60) for number in range(count)]
    whole = Transcript(session_id="s1", format=OutputFormat.TRANSCRIPT, messages=messages)
    assert b"".join(pieces) == msgspec.json.encode(whole)
    assert all(pieces)
    assert len(pieces) == count // together + 1


def test_an_unknown_run_raises_before_the_first_piece() -> None:
    with pytest.raises(RunNotFound):
        transcript_pieces(*PLATFORM_RUN, run_id="never heard of")


def output(format: OutputFormat, raws: list[bytes], sizes: list[int], run_id: str | None) -> object:
    """Return the output for a log that arrives in batches of these sizes; the last size is repeated."""
    run_filter = RunFilter(run_id, accepted=True)
    if format is OutputFormat.TRANSCRIPT:
        transcript = TranscriptWriter("s1", run_filter, session_running=True)
        for batch in batches(raws, sizes, transcript.decoder):
            transcript.feed(batch)
        return json.loads(b"".join(transcript.pieces()))
    writer = EventLogWriter("s1", format, run_filter)
    pieces = [writer.feed([batch]) for batch in batches(raws, sizes, writer.decoder)]
    return json.loads(b"".join([*pieces, *writer.finish()]))


def batches(raws: list[bytes], sizes: list[int], decoder: EventDecoder[Any]) -> Iterator[EventBatch[Any]]:
    raws, sizes = list(raws), list(sizes)
    while raws:
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        yield EventBatch(b"[%b]" % b",".join(raws[:size]), decoder)
        raws = raws[size:]


@pytest.mark.parametrize("format", [OutputFormat.TRANSCRIPT, OutputFormat.COMPACT, OutputFormat.EVENTS])
@given(
    st.lists(deltas | whole_events, max_size=25),
    st.lists(st.integers(1, 8), min_size=1, max_size=4),
    st.sampled_from([None, "r1"]),
)
def test_output_does_not_depend_on_the_batches_in_which_the_log_arrives(
    format: OutputFormat, raws: list[bytes], sizes: list[int], run_id: str | None
) -> None:
    assert output(format, raws, sizes, run_id) == output(format, raws, [1], run_id)


def test_texts_keep_their_escapes() -> None:
    written = rb"\u003cb\u003e \/ \"caf\u00e9\" \ud83d\ude80 " + "é🚀".encode()
    message = b'{"id":"m","role":"user","content":"%b","toolCalls":[{"id":"c","args":"%b","result":"%b"}]}'
    snapshot = b'{"type":"MESSAGES_SNAPSHOT","messages":[%b]}' % (message % (written, written, written))
    (piece,) = transcript_pieces(snapshot)
    assert piece.count(b'"%b"' % written) == 3
    assert msgspec.json.decode(piece)["messages"][0]["content"] == '<b> / "café" 🚀 é🚀'
