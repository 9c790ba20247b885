"""The files of a session's text log: bounded, without secrets, and never a reason to fail."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.agents.port import Turn
from app.engine import session_log
from app.engine.session_log import SessionLog
from tests.support.scripted import CALLER, FINISHED, STARTED, open_backend


def texts(log: SessionLog, count: int = 10_000) -> list[str]:
    return [line.partition(": ")[2] for line in log.tail(count).splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "demo" / "s1.log"


def test_lines_come_in_order_with_time_and_source(path: Path) -> None:
    log = SessionLog(path)
    assert log.tail(9) == ""
    log.write("git", "one\n\n  two\r\nthree")
    log.write("agent", "four\x1b[31m\x07\tü\ud800")
    assert texts(log) == ["one", "  two", "three", "four[31m\tü"]
    assert [line.split()[1] for line in log.tail(2).splitlines()] == ["git:", "agent:"]
    assert log.tail(9).endswith("\n")


def test_secrets_are_not_written(path: Path) -> None:
    key = "ak_" + "x" * 43
    log = SessionLog(path, ["s3cret", "s3cret-and-more", "1", "", "two\nlines here"])
    log.write("agent", f"s3cret s3cret-and-more 1 {key} https://u:p@host/ lines here\nAuthorization: Bearer abcdef")
    assert texts(log) == ["*** *** 1 *** https://***@host/ ***", "Authorization: Bearer ***"]


def test_the_newest_lines_stay_and_no_more_than_two_files(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_log, "MAX_BYTES", 2000)
    log = SessionLog(path)
    for number in range(500):
        log.write("agent", f"line {number}")
    lines = texts(log)
    assert lines == [f"line {number}" for number in range(500 - len(lines), 500)]
    assert texts(log, 3) == ["line 497", "line 498", "line 499"]
    assert sum(file.stat().st_size for file in path.parent.iterdir()) < 4100
    assert len(lines) > 40
    log.write("agent", "x" * 100_000)
    assert len(texts(log)[-1]) <= session_log.MAX_LINE
    log.remove()
    assert list(path.parent.iterdir()) == []


def test_a_disk_that_fails_loses_lines_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    log = SessionLog(tmp_path / "logs" / "s1.log")
    log.write("agent", "lost")
    assert log.tail(9) == ""


async def test_the_output_of_the_agents_process_is_in_the_log(tmp_path: Path) -> None:
    async def talkative(turn: Turn) -> AsyncIterator[bytes]:
        turn.log("loading the model with hunter22\nready")
        yield STARTED
        yield FINISHED

    async with open_backend(tmp_path, talkative) as harness:
        session_id = await harness.running(environment_variables={"PASSWORD": "hunter22"})
        text = await harness.backend.get_session_logs(CALLER, session_id, tail=100)
    assert "Z agent: loading the model with ***\n" in text
    assert "Z agent: ready\n" in text
