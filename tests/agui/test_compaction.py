"""Compaction: adjacent deltas become one event, every other event is unchanged."""

import re
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from app.agui.compaction import compact
from app.agui.events import Event
from tests.support.agui_samples import PLATFORM_RUN, bytes_of, deltas, dict_of, hostile_events, log, raw

TEXT, ARGS, REASONING = "TEXT_MESSAGE_CONTENT", "TOOL_CALL_ARGS", "REASONING_MESSAGE_CONTENT"


def test_adjacent_deltas_are_joined() -> None:
    events = log(
        raw("RUN_STARTED"),
        raw(TEXT, messageId="m", delta="Hel"),
        raw(TEXT, messageId="m", delta="lo \u2192 "),
        raw(TEXT, messageId="m", delta='"you"\n'),
        raw(ARGS, toolCallId="c", delta='{"a"'),
        raw(ARGS, toolCallId="c", delta=":1}"),
        raw(REASONING, messageId="m", delta="h"),
        raw(REASONING, messageId="m", delta="m"),
    )
    compacted = list(compact(events))
    assert [dict_of(event).get("delta") for event in compacted] == [None, 'Hello \u2192 "you"\n', '{"a":1}', "hm"]
    assert [event.position for event in compacted] == [1, 4, 6, 8]


def test_members_of_the_first_event_keep_their_bytes() -> None:
    first = b'{"zeta":12345678901234567890,"messageId":"m","delta":"a\\u003c","x":[1.0e5 , null],"type":"%b"}'
    events = log(first % TEXT.encode(), b'{"type":"%b","messageId":"m","delta":"b\\/","timestamp":1}' % TEXT.encode())
    assert bytes_of(compact(events)) == [first.replace(b'u003c"', b'u003cb\\/"') % TEXT.encode()]


def test_an_escaped_emoji_survives_joining() -> None:
    events = log(
        *(rb'{"type":"%b","messageId":"m","delta":%b}' % (TEXT.encode(), d) for d in (rb'"\ud83d\ude00"', b'"!"'))
    )
    assert [dict_of(event)["delta"] for event in compact(events)] == ["\U0001f600!"]


def test_deltas_of_other_parts_or_separated_deltas_are_not_joined() -> None:
    raws = [
        raw(TEXT, messageId="m", delta="1"),
        raw(TEXT, messageId="n", delta="2"),
        raw(TEXT, run="r2", messageId="n", delta="3"),
        raw(REASONING, run="r2", messageId="n", delta="4"),
        raw("CUSTOM", run="r2", name="x"),
        raw(REASONING, run="r2", messageId="n", delta="5"),
        raw(ARGS, toolCallId="c", messageId="n", delta="6"),
        raw(ARGS, toolCallId="d", messageId="n", delta="7"),
        raw("TEXT_MESSAGE_CHUNK", messageId="n", delta="8"),
        raw("TEXT_MESSAGE_CHUNK", messageId="n", delta="9"),
    ]
    assert bytes_of(compact(log(*raws))) == raws


def test_deltas_without_an_id_are_not_joined() -> None:
    raws = [
        raw(TEXT, delta="1"),
        raw(TEXT, delta="2"),
        raw(TEXT, messageId="", delta="3"),
        raw(TEXT, messageId=7, delta="4"),
        raw(ARGS, messageId="m", delta="5"),
        raw(ARGS, messageId="m", delta="6"),
    ]
    assert bytes_of(compact(log(*raws))) == raws


def test_deltas_that_are_not_strings_are_not_joined() -> None:
    raws = [raw(TEXT, messageId="m", delta=delta) for delta in ("1", 2, ["3"], None, {"a": 4}, "5")]
    assert bytes_of(compact(log(*raws))) == raws


def test_a_single_delta_keeps_its_bytes() -> None:
    assert bytes_of(compact(log(*PLATFORM_RUN))) == PLATFORM_RUN


def test_one_message_of_37000_deltas_becomes_one_event() -> None:
    delta = "x" * 180
    events = compact(log(*[raw(TEXT, messageId="m", delta=delta)] * 37_000))
    (event,) = events
    assert event.position == 37_000
    assert dict_of(event)["delta"] == delta * 37_000


@given(st.lists(deltas | hostile_events, max_size=25))
def test_no_text_and_no_other_event_is_lost_in_any_log(raws: list[bytes]) -> None:
    events = log(*raws)
    before = bytes_of(events)
    compacted = list(compact(events))
    assert _reference(compacted) == _reference(events)
    assert len(compacted) == len(_reference(events))
    assert [event.position for event in compacted] == sorted({event.position for event in compacted})
    assert bytes_of(events) == before


def _reference(events: Sequence[Event]) -> list[tuple[object, str]]:
    """Return a log's events with adjacent deltas as one text: a plain reference implementation."""
    expected: list[tuple[object, str]] = []
    for event in events:
        named = event.tool_call_id if event.type == ARGS else event.message_id
        delta = dict_of(event).get("delta")
        if event.type not in {TEXT, ARGS, REASONING} or named is None or not isinstance(delta, str):
            expected.append((event.position, bytes(event.raw).decode()))
            continue
        key, text = (event.type, event.run_id, named), re.sub("[\ud800-\udfff]", "\ufffd", delta)
        if expected and expected[-1][0] == key:
            expected[-1] = (key, expected[-1][1] + text)
        else:
            expected.append((key, text))
    return expected
