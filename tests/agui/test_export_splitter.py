"""Splitting the platform's export while it arrives: each event keeps its bytes."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agui import export_splitter
from app.agui.events import EVENTS, HEADERS, OPAQUE, EventDecoder, EventHeader
from app.agui.export_splitter import ExportSplitter, _likely_ends

TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from('"\\[]{},:'), max_size=12) | st.sampled_from(
    ["aguiEvents", 'x},{"type":"A"},', '"aguiEvents":[', '"type":"END"},']
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("type"), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.fixed_dictionaries({"type": st.sampled_from(["RUN_STARTED", "MESSAGES_SNAPSHOT"]), "messages": VALUES})


def split(text: bytes, sizes: list[int], decoder: EventDecoder[Any] = OPAQUE) -> list[bytes]:
    """Return the entries of an export that arrives in pieces of these sizes; the last size is repeated."""
    splitter, found = ExportSplitter(decoder), []
    while text:
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        found += [raw for part in splitter.feed(text[:size]) for raw in part.raws()]
        text = text[size:]
    found += splitter.finish().raws()
    return [bytes(raw) for raw in found]


def export(*events: bytes) -> bytes:
    return b'{"sessionId":"s","aguiEvents":[%b],"hasLegacy":false}' % b",".join(events)


EXPORTS = st.builds(
    lambda before, log, after: {**before, "aguiEvents": log, "legacyMessages": after},
    st.dictionaries(TEXTS.filter(lambda key: key != "aguiEvents"), VALUES, max_size=2),
    st.lists(OBJECTS | VALUES, max_size=12),
    VALUES,
)


@pytest.mark.parametrize("decoder", [OPAQUE, HEADERS, EVENTS])
@given(EXPORTS, st.integers(-1, 2), st.integers(1, 80), st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_entries_do_not_depend_on_the_pieces_in_which_the_export_arrives(
    decoder: EventDecoder[Any], value: dict[str, Any], indent: int, slice_size: int, sizes: list[int]
) -> None:
    text = msgspec.json.format(msgspec.json.encode(value), indent=indent)
    whole = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    expected = msgspec.json.decode(whole["aguiEvents"], type=list[msgspec.Raw])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_splitter, "SLICE", slice_size)
        patch.setattr(export_splitter, "LONG", 3 * slice_size)
        assert split(text, sizes, decoder) == [bytes(raw) for raw in expected]


@pytest.mark.parametrize("size", [10_000, 10_000_000])
def test_a_long_log_is_split_between_events(size: int) -> None:
    messages = b",".join([b'{"content":"%b","role":"user","type":"text"}' % (b"x" * 50)] * 40)
    log = [b'{"messages":[%b],"runId":"r","type":"MESSAGES_SNAPSHOT"}' % messages, b'{"type":"CUSTOM","value":1}'] * 900
    text, splitter = export(*log), ExportSplitter(EVENTS)
    fed = [splitter.feed(text[start : start + size]) for start in range(0, len(text), size)]
    parts = [*chain(*fed), splitter.finish()]
    assert [bytes(raw) for part in parts for raw in part.raws()] == log
    assert max(len(part.array) for part in parts) < export_splitter.SLICE + 20_000


def test_long_events_are_split_by_the_few_short_ones_between_them() -> None:
    message = b'{"content":"%b","role":"user","type":"text"}' % (b"x" * 1000)
    snapshots = [
        b'{"messages":[%b],"type":"MESSAGES_SNAPSHOT"}' % b",".join([message] * size) for size in range(1500, 3000, 150)
    ]
    log = [event for snapshot in snapshots for event in (snapshot, *[b'{"delta":"y","type":"TEXT_MESSAGE_CHUNK"}'] * 5)]
    text, splitter = export(*log), ExportSplitter(HEADERS)
    fed = [splitter.feed(text[start : start + 250_000]) for start in range(0, len(text), 250_000)]
    parts = [*chain(*fed), splitter.finish()]
    assert [bytes(raw) for part in parts for raw in part.raws()] == log
    assert max(len(part.array) for part in parts) < max(map(len, snapshots)) + 2 * export_splitter.SLICE


def test_events_without_a_type_do_not_accumulate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_splitter, "LONG", 4 * export_splitter.SLICE)
    log = [b'{"value":"%b"}' % (b"x" * 500)] * 5000
    text, splitter = export(*log), ExportSplitter(OPAQUE)
    fed = [splitter.feed(text[start : start + 100_000]) for start in range(0, len(text), 100_000)]
    parts = [*chain(*fed), splitter.finish()]
    assert [bytes(raw) for part in parts for raw in part.raws()] == log
    assert max(len(part.array) for part in parts) < 8 * export_splitter.SLICE


def test_an_event_that_looks_like_many_is_decoded_only_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = b",".join([b'{"value":1,"type":"CUSTOM"}'] * 100_000)
    event, read = b'{"event":[%b],"type":"RAW"}' % inside, 0
    decoder = EventDecoder(EventHeader)
    decode_array = decoder.decode_array

    def counted(array: bytes) -> Sequence[EventHeader]:
        nonlocal read
        read += len(array)
        return decode_array(array)

    monkeypatch.setattr(decoder, "decode_array", counted)
    assert split(export(event, b"{}"), [export_splitter.SLICE], decoder) == [event, b"{}"]
    assert read < 10 * len(event)


def test_a_comma_is_guessed_once_however_many_types_come_after_it() -> None:
    text = b'{"value":1},' + b'[{"type":"A"}],' * 1000
    assert list(_likely_ends(text, 0, len(text))) == [11]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"aguiEvents"',
        b'{"aguiEvents":[1,}',
        b'{"aguiEvents":[{"type":"A"},]}',
        export() + b"1",
    ],
)
@pytest.mark.parametrize("slice_size", [1, 1000])
@pytest.mark.parametrize("size", [3, 4])
def test_an_export_that_is_not_a_json_object_is_rejected(
    text: bytes, size: int, slice_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_splitter, "SLICE", slice_size)
    with pytest.raises(msgspec.DecodeError):
        split(text, [size])


@pytest.mark.parametrize("value", [b"null", b"{}", b'"text"', b"7"])
def test_a_log_that_is_not_a_list_has_no_entries(value: bytes) -> None:
    assert split(b'{"aguiEvents":%b}' % value, [5]) == []
    assert split(b"{}", [5]) == []


def test_the_log_is_found_after_many_members_of_its_name() -> None:
    inner = b'{"aguiEvents":[1]}'
    text = b'{"before":[%b],"aguiEvents":[{"type":"A"},7]}' % b",".join([inner] * 100)
    assert split(text, [50]) == [b'{"type":"A"}', b"7"]
