"""Cursors over logs that the platform has rewritten: recordings of a real one, cut at every position."""

import json
from collections.abc import Sequence

import msgspec
import pytest

from app.agui.events import Event, decode
from app.backends.ambient.cursors import START, Cursor, Tracker, digest, lasts, locate
from app.errors import CursorExpired
from tests.support.platform_recordings import session_log, streamed_sessions
from tests.support.platform_runner import Runner

LOGS = [
    (number, session)
    for number in ("01", "02", "03", "04", "06", "07", "08", "09", "11", "12", "17")
    for session in streamed_sessions(number)
]

every_log = pytest.mark.parametrize(("number", "session"), LOGS, ids=[f"{number}-{name[-4:]}" for number, name in LOGS])


def events(*raws: bytes) -> list[Event]:
    return list(decode(raws))


def event(type_: str, **fields: object) -> bytes:
    return json.dumps({"type": type_, **fields}).encode()


def cursor_after(log: Sequence[Event]) -> Cursor:
    tracker = Tracker()
    tracker.add(log)
    return Cursor.parse(str(tracker.cursor))


@every_log
@pytest.mark.parametrize("rewrites", [True, False])
def test_reading_goes_on_wherever_it_was_cut_and_whenever_it_is_resumed(
    number: str, session: str, rewrites: bool
) -> None:
    lines = session_log(number, session)
    whole = events(*[line.stored for line in lines])
    place = {bytes(one.raw): index for index, one in enumerate(whole)}
    runner, logs, cursors = Runner(rewrites=rewrites), [], [START]
    for count, line in enumerate(lines, start=1):
        runner.play(session, line.stored, line.live)
        logs.append(events(*runner.logs[session] or ()))
        # A reader that has followed the stream has seen everything, also what was deleted as the last line came.
        tracker = Tracker(cursors[-1])
        tracker.add(whole[count - 1 : count])
        cursors.append(Cursor.parse(str(tracker.cursor)))
    resumed = [index for index, line in enumerate(lines) if line.ends_run or index % 7 == 0] + [len(lines) - 1]
    for later in resumed:
        for cut in range(later + 2):
            found, _ = locate(logs[later], cursors[cut])
            lasting = [bytes(one.raw) for one in found if lasts(one)]
            assert lasting == [bytes(one.raw) for one in whole[cut : later + 1] if lasts(one)]
            kept = [bytes(one.raw) for one in logs[later] if not lasts(one) and place[bytes(one.raw)] >= cut]
            assert [bytes(one.raw) for one in found if not lasts(one)] == kept


@every_log
def test_cursor_is_the_same_for_a_line_of_the_stream_and_its_entry_in_the_export(number: str, session: str) -> None:
    for line in session_log(number, session):
        ids = ("runId", "threadId", "run_id", "thread_id")
        live, stored = ({k: v for k, v in json.loads(raw).items() if k not in ids} for raw in (line.live, line.stored))
        assert digest(json.dumps(live).encode()) == digest(json.dumps(stored, ensure_ascii=False).encode())


def test_cursor_of_another_log_is_refused() -> None:
    one = events(event("RUN_STARTED", runId="r1"), event("RUN_FINISHED", runId="r1"))
    other = events(event("RUN_STARTED", runId="r2"), event("RUN_FINISHED", runId="r1"))
    for cut in range(1, 2):
        with pytest.raises(CursorExpired):
            locate(other, cursor_after(one[:cut]))
    with pytest.raises(CursorExpired):
        locate(one[:1], cursor_after(one))
    with pytest.raises(CursorExpired):
        locate([], cursor_after(one))


def test_platform_that_keeps_other_events_is_found_out() -> None:
    custom = event("CUSTOM", name="x")
    seen = cursor_after(events(event("RUN_STARTED", runId="r1"), custom, event("TEXT_MESSAGE_START", messageId="m")))
    with pytest.raises(CursorExpired):
        locate(events(event("RUN_STARTED", runId="r1"), event("RUN_FINISHED", runId="r1")), seen)


def test_words_that_came_after_others_were_deleted_are_new() -> None:
    start = event("RUN_STARTED", runId="r1")
    words = [event("TEXT_MESSAGE_CONTENT", messageId="m", delta=delta) for delta in ("a", "b", "a", "c")]
    seen = cursor_after(events(start, *words[:2]))
    assert [bytes(one.raw) for one in locate(events(start, *words[2:]), seen)[0]] == words[2:]
    found, at = locate(events(start, words[1], *words[2:]), seen)
    assert [bytes(one.raw) for one in found] == words[2:]
    assert (at.lasting, at.others) == (1, 1)


@pytest.mark.parametrize(
    "text",
    ["", "x", "1", "-1", "1.1", "0.0.-", "1.0.-.-", "0.1.-.-", "1.0.abc.-", "0.0.0123456789ab.-", "0.0.-.-.-", "00"],
)
def test_text_that_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(CursorExpired):
        Cursor.parse(text)


@pytest.mark.parametrize("text", [None, "0", "0.0.-.-"])
def test_start_of_the_log_has_its_own_cursor(text: str | None) -> None:
    assert Cursor.parse(text) == START


def test_digest_is_that_of_the_value() -> None:
    assert digest(b'{"a":1,"b":"<"}') == digest(b'{ "b" : "\\u003c", "a":1}')
    assert digest(b'{"n":12345678901234567890}') == digest(b'{"n":12345678901234567000}')
    assert digest(b'{"n":1}') != digest(b'{"n":2}')
    assert digest(msgspec.Raw(b'{"n":"\\ud83d"}')) == digest('{"n":"\ufffd"}'.encode())
