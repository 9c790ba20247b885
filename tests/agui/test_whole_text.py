"""Texts that agents cut within a character, and JSON that strict readers refuse."""

import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agui.lenient import UNREADABLE
from app.agui.whole_text import HalfJoiner, decode_leniently, whole_text

_KINDS = {
    "TEXT_MESSAGE_CONTENT": "messageId",
    "REASONING_MESSAGE_CONTENT": "messageId",
    "TOOL_CALL_ARGS": "toolCallId",
    "TEXT_MESSAGE_CHUNK": "messageId",
}


def joined(*events: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a strict reader reads of these events."""
    joiner = HalfJoiner()
    found = [each for event in events for each in joiner.add(json.dumps(event).encode())]
    return [msgspec.json.decode(each) for each in [*found, *joiner.finish()]]


@given(
    text=st.text(alphabet=st.sampled_from("aé日\U0001f389\U0001f600")),
    cuts=st.lists(st.integers(0, 40)),
    kind=st.sampled_from(sorted(_KINDS)),
)
def test_a_text_arrives_whole_wherever_it_is_cut(text: str, cuts: list[int], kind: str) -> None:
    units = text.encode("utf-16-le")
    edges = [0, *sorted(min(2 * cut, len(units)) for cut in cuts), len(units)]
    parts = [units[a:b].decode("utf-16-le", "surrogatepass") for a, b in itertools.pairwise(edges)]
    other = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "other", "delta": "x"}
    events = [event for part in parts for event in ({"type": kind, _KINDS[kind]: "m", "delta": part}, other)]
    found = joined(*events)
    assert "".join(event.get("delta", "") for event in found if event.get(_KINDS[kind]) == "m") == text


@given(st.text(alphabet=st.characters(exclude_categories=[]), max_size=20))
def test_any_sequence_of_units_becomes_a_text(text: str) -> None:
    whole = whole_text(text)
    whole.encode()
    assert whole.replace("\ufffd", "") == text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore").replace(
        "\ufffd", ""
    )


def test_half_a_character_is_completed_before_the_end_of_its_message() -> None:
    content = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "a\ud83c"}
    end = {"type": "TEXT_MESSAGE_END", "messageId": "m"}
    assert joined(content, end) == [content | {"delta": "a"}, content | {"delta": "\ufffd"}, end]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": "\ud83c"},
        {"type": "TOOL_CALL_RESULT", "toolCallId": "c", "content": [{"type": "text", "text": "\ud83c"}]},
        {"type": "CUSTOM", "name": "n", "value": {"\ud83c": float("nan")}},
        {"type": "RUN_ERROR", "message": "\udf89"},
        {"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/a", "value": float("inf")}]},
        {"type": "ACTIVITY_SNAPSHOT", "messageId": "m", "content": {"a": "x\ud83cy"}},
    ],
)
def test_half_a_character_anywhere_is_replaced(event: dict[str, Any]) -> None:
    [found] = joined(event)
    expected = json.dumps(event, ensure_ascii=False).replace("NaN", "null").replace("Infinity", "null")
    assert json.dumps(found, ensure_ascii=False) == expected.replace("\ud83c", "\ufffd").replace("\udf89", "\ufffd")


def test_an_event_that_every_reader_accepts_keeps_its_bytes() -> None:
    raw = b'{ "type":"CUSTOM", "value": 1.10, "n": 12345678901234567890 }'
    assert HalfJoiner().add(raw) == [raw]


@pytest.mark.parametrize(("text", "value"), [(b"1e400", None), (b"[NaN,-1e400]", [None, None]), (b"9" * 6000, None)])
def test_a_number_beyond_json_is_null(text: bytes, value: Any) -> None:
    assert decode_leniently(text) == value


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b"'a'"])
def test_what_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(UNREADABLE):
        decode_leniently(text)
