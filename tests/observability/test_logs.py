"""Logs are JSON lines without secrets, those of libraries too."""

import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from app.observability.logs import redact


def logged(program: str, level: str = "info") -> list[dict[str, Any]]:
    """Return the lines that `program` logs in a process whose logs are configured at `level`."""
    start = f"""
        import logging, structlog
        from app.observability import logs
        logs.configure({level!r})
        log = structlog.get_logger()
    """
    command = [sys.executable, "-c", textwrap.dedent(start) + textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603 - our own code
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_every_line_is_json_whoever_writes_it() -> None:
    lines = logged("""
        logs.REQUEST_ID.set("r1")
        log.info("ours", size=3)
        logging.getLogger("uvicorn.error").warning("theirs %s", "too")
    """)

    ours, theirs = ({name: line[name] for name in line if name != "time"} for line in lines)
    assert ours == {"event": "ours", "size": 3, "level": "info", "request_id": "r1"}
    assert theirs == {"event": "theirs too", "logger": "uvicorn.error", "level": "warning", "request_id": "r1"}
    assert all(line["time"].endswith("Z") for line in lines)


def test_a_line_is_ascii_whatever_its_values_are() -> None:
    program = r"""
        log.info("Gr\xfc\xdfe \ud83d", whom={"name": "J\xfcrgen"}, what=object)
    """
    [line] = logged(program)

    assert (line["event"], line["whom"], line["what"]) == (
        "Gr\xfc\xdfe \ud83d",
        {"name": "J\xfcrgen"},
        repr(object),
    )


def test_less_severe_lines_are_left_out() -> None:
    lines = logged("log.info('a'); logging.info('b'); log.warning('c'); logging.warning('d')", level="warning")

    assert [line["event"] for line in lines] == ["c", "d"]


def test_libraries_log_warnings_only_when_the_level_is_debug() -> None:
    lines = logged("log.debug('ours'); logging.debug('theirs')", level="debug")

    assert [line["event"] for line in lines] == ["ours"]


def test_a_stack_is_one_line_without_its_secrets() -> None:
    [line] = logged("""
        try:
            raise ValueError("Bearer hunter2")
        except ValueError:
            log.exception("broken", nested={"url": "https://me:hunter2@example.com"})
    """)

    assert "ValueError: Bearer ***" in line["exception"]
    assert "hunter2" not in json.dumps(line)


def test_a_lone_surrogate_does_not_break_the_line() -> None:
    assert logged("log.info('odd', path=chr(0xd800))")[0]["path"] == "\ud800"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("key ak_3q2-7wABCDEF_x end", "key *** end"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
        ("authorization: bearer abc", "authorization: bearer ***"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln", "***"),
        ("eyJhbGciOiJIUzI1NiJ9 alone", "*** alone"),
        ("https://me:pass@example.com/x", "https://***@example.com/x"),
        ("ssh://git@example.com/x", "ssh://***@example.com/x"),
        ("ghp_0123456789abcdefghij", "***"),
        ("github_pat_0123456789abcdefghij", "***"),
        ("glpat-0123456789abcdefghij", "***"),
        ("a key sk-0123456789abcdefghij", "a key ***"),
        ("?api_key=abc", "?api_key=***"),
        ("?access_token=abc", "?access_token=***"),
        ('{"Authorization": "Basic abc"}', '{"Authorization": "***"}'),
        ('{"cookie": "a=b"}', '{"cookie": "***"}'),
        ("/v1/sessions?token=abc&limit=3", "/v1/sessions?token=***&limit=3"),
        ('{"password": "abc", "n": 1}', '{"password": "***", "n": 1}'),
        (r'{"password": "a\"bc", "n": 1}', '{"password": "***", "n": 1}'),
        ("a task about tokens, 3@home", "a task about tokens, 3@home"),
    ],
)
def test_secrets_are_replaced(text: str, clean: str) -> None:
    assert redact(text) == clean
