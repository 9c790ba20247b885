"""Decoding of logs: keys in every spelling, and no entry that raises or loses anything."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agui.compaction import compact
from app.agui.events import decode
from app.agui.lifecycle_events import OpenParts
from app.agui.outcome import read_outcome
from app.agui.run_filter import normalize_run_id, of_run
from app.agui.run_summaries import summaries
from app.agui.transcript import transcript
from tests.support.agui_samples import PLATFORM_RUN, R1, THREAD, bytes_of, hostile_events, json_values, log, raw


def test_an_event_with_keys_in_both_spellings_is_read() -> None:
    event = log(PLATFORM_RUN[7])[0]
    assert (event.type, event.run_id, event.thread_id) == ("TOOL_CALL_RESULT", R1, THREAD)
    assert (event.message_id, event.tool_call_id) == ("toolu_1-result", "toolu_1")
    assert event.timestamp == 1773061200401


def test_snake_case_ids_are_read_if_camel_case_is_missing_or_empty() -> None:
    event = log(b'{"runId":"","run_id":"r","thread_id":"t","message_id":"m","tool_call_id":"c"}')[0]
    assert (event.run_id, event.thread_id, event.message_id, event.tool_call_id) == ("r", "t", "m", "c")


def test_camel_case_wins_over_snake_case() -> None:
    assert log(b'{"run_id":"snake","runId":"camel"}')[0].run_id == "camel"


@pytest.mark.parametrize(
    ("stored", "ms"),
    [
        ("1773061200389", 1773061200389),
        ("1773061200389.75", 1773061200389),
        ('"2026-03-09T13:00:00.389000+00:00"', 1773061200389),
        ('"2026-03-09T13:00:00.389123456Z"', 1773061200389),
        ('"2026-03-09T14:00:00.389+01:00"', 1773061200389),
        ('"2026-03-09T13:00:00"', 1773061200000),
        ('"9999-12-31T23:59:59-10:00"', None),
        ('"yesterday"', None),
        ("true", None),
        ("-1", None),
        ("1e400", None),
        ("12345678901234567890", None),
        ("null", None),
        ("[1]", None),
    ],
)
def test_a_timestamp_is_milliseconds_or_absent(stored: str, ms: int | None) -> None:
    event = log(b'{"runId":"r","timestamp":%b}' % stored.encode())[0]
    assert (event.timestamp, event.run_id) == (ms, "r")


def test_members_of_wrong_types_are_absent_and_others_are_read() -> None:
    event = log(b'{"type":7,"runId":{"a":1},"run_id":"r","messageId":null,"toolCallId":["x"],"threadId":"t"}')[0]
    assert (event.type, event.run_id, event.message_id, event.tool_call_id) == (None, "r", None, None)
    assert event.thread_id == "t"


def test_entries_that_are_not_json_objects_have_no_position() -> None:
    junk = [b"[1]", b'"text"', b"null", b"1", b"{", b"", b'{"a":NaN}', b"{} {}", b'{"a":' + b"[" * 10**5 + b"]" * 10**5]
    events = log(junk[0], raw("A"), *junk[1:], raw("B"))
    assert [(event.type, event.position) for event in events] == [("A", 1), ("B", 2)]


def test_positions_continue_in_the_middle_of_a_log() -> None:
    assert [event.position for event in decode([raw(), raw()], first=41)] == [41, 42]


def test_members_named_like_fields_of_the_struct_are_ignored() -> None:
    entry = b'{"raw":"x","position":"y","_position":"z","_source":1,"type":"A","runId":"r"}'
    event = log(entry)[0]
    assert (bytes(event.raw), event.position, event.type, event.run_id) == (entry, 1, "A", "r")


def test_an_event_with_an_unpaired_surrogate_is_read() -> None:
    entry = rb'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"\\ud83d \ud83d","runId":"r"}'
    event = log(entry)[0]
    assert (bytes(event.raw), event.message_id, event.run_id) == (entry, "m", "r")
    assert transcript([event])[0].content == "\\ud83d \ufffd"


def test_long_integers_and_unordered_keys_keep_their_bytes() -> None:
    entry = b'{"zeta" : 12345678901234567890,"alpha":1.0e5 ,"type":"NEVER_HEARD_OF","runId":"r","\\u0062":"\\u003c"}'
    assert bytes_of(log(entry)) == [entry]


@given(st.lists(hostile_events | st.binary(max_size=20) | json_values.map(lambda value: json.dumps(value).encode())))
def test_no_log_makes_a_reader_raise(raws: list[bytes]) -> None:
    events = log(*raws)
    assert len(events) == sum(_is_object(entry) for entry in raws)
    parts = OpenParts()
    for event in events:
        parts.observe(event)
        read_outcome(event)
    msgspec.json.encode([transcript(events), summaries(events, session_running=True)])
    msgspec.json.decode(msgspec.json.encode([parts.close("t", "r", 1)]))
    assert all(_is_object(entry) for entry in bytes_of(compact(events)))


def _is_object(entry: bytes) -> bool:
    try:
        return isinstance(json.loads(entry.decode()), dict)
    except (ValueError, RecursionError):
        return False


@pytest.mark.parametrize(
    "spelling",
    [
        R1,
        R1.upper(),
        R1.replace("-", ""),
        f"urn:uuid:{R1}",
        f"URN:UUID:{R1}",
        f"urn:uuid:{R1.replace('-', '')}",
        f"{{{R1}}}",
        f"{{{R1.replace('-', '')}}}",
    ],
)
def test_a_run_is_found_by_any_spelling_of_its_uuid(spelling: str) -> None:
    events = log(*PLATFORM_RUN, raw("CUSTOM", run=None), raw("CUSTOM", run="other"))
    assert bytes_of(of_run(events, spelling)) == PLATFORM_RUN
    assert bytes_of(of_run(log(raw("A", run=spelling)), R1)) == [raw("A", run=spelling)]


@pytest.mark.parametrize(
    "free",
    [
        "unknown",
        f"x{R1}",
        f"{R1}\n",
        f"{{{R1}",
        f"{{urn:uuid:{R1}}}",
        f"{R1[:9]}-{R1[9:]}",
        R1.replace("-", "_"),
        "\u0661" * 32,
        "",
    ],
)
def test_an_id_that_is_not_a_uuid_is_not_normalized(free: str) -> None:
    assert normalize_run_id(free) == free


def test_an_unknown_run_has_no_events() -> None:
    assert list(of_run(log(*PLATFORM_RUN, raw("META", run=None)), "legacy-migration")) == []
