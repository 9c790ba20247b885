"""Reading the platform's export: the bytes of each event as they came, and nothing that is not UTF-8."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backends.ambient import log
from app.errors import BackendUnavailable, RunNotFound
from app.types import OutputFormat


def export(*events: bytes) -> bytes:
    return b'{"sessionId":"s","aguiEvents":[%b],"hasLegacy":false}' % b",".join(events)


@given(characters=st.text(min_size=1, max_size=5), shift=st.integers(0, 3))
def test_entries_are_the_stored_bytes_when_characters_lie_across_chunks(characters: str, shift: int) -> None:
    event = msgspec.json.encode({"text": "x" * shift + characters + "é€😀"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "CHUNK", 4)
        assert [bytes(entry) for entry in log.entries(export(event))] == [event]


@pytest.mark.parametrize("broken", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f\x98"])
def test_log_is_unreadable_when_it_is_not_utf8(broken: bytes) -> None:
    with pytest.raises(BackendUnavailable):
        log.entries(export(b'{"text":"%b"}' % broken))
    with pytest.raises(BackendUnavailable):
        log.entries(export() + broken)


def test_log_is_empty_when_nothing_has_run() -> None:
    assert log.entries(None) == []
    assert log.summaries(None, session_running=True) == []
    assert not log.has_run(None, "r")


def test_run_that_is_accepted_and_not_in_the_log_has_no_events_yet() -> None:
    accepted = log.output(None, "s", OutputFormat.EVENTS, "r", run_accepted=True)
    assert accepted == log.output(export(), "s", OutputFormat.EVENTS, None, run_accepted=False)
    with pytest.raises(RunNotFound):
        log.output(None, "s", OutputFormat.EVENTS, "r", run_accepted=False)
