"""`sessions message`: a message with files, and its answer."""

import json
from pathlib import Path

from tests.cli.conftest import Client
from tests.support.api import Api


def test_it_prints_the_id_of_the_run(client: Client, embedded_api: Api, session: str) -> None:
    done = client("sessions", "message", session, "hello")
    assert embedded_api.wait_for_run(session, done.stdout.strip())["user_message"] == "hello"


def test_it_sends_files_and_prints_the_answer(client: Client, embedded_api: Api, session: str, tmp_path: Path) -> None:
    shot, text = tmp_path / "shot ü.png", tmp_path / "a.txt"
    shot.write_bytes(b"PNG" * 1_000_000)
    text.write_text("a")

    done = client("sessions", "message", session, "-", "--wait", "-a", str(shot), "--attach", str(text), stdin="Look\n")

    assert done.exit_code == 0
    assert 'You said: "Look". You attached shot ü.png (image/png). You attached a.txt (text/plain).' in done.stdout
    [message] = [each for each in embedded_api.output(session).ok()["messages"] if each.get("attachments")]
    first = message["attachments"][0]["path"]
    assert embedded_api.read_file(session, first).content == b"PNG" * 1_000_000
    assert embedded_api.diff(session).ok()["files"] == []


def test_its_exit_status_is_that_of_the_run(client: Client, session: str) -> None:
    failed = client("sessions", "message", session, "fail", "--wait", "--json")
    assert (failed.exit_code, json.loads(failed.stdout)["status"]) == (1, "error")
    assert failed.stderr == "The demo agent failed, as requested.\n"
    assert client("sessions", "message", session, "ask", "--wait").exit_code == 3


def test_a_file_that_cannot_be_read_is_named(client: Client, session: str) -> None:
    done = client("sessions", "message", session, "Look", "--attach", "none.png")
    assert (done.exit_code, done.stderr) == (1, "none.png cannot be read: No such file or directory.\n")


def test_a_task_takes_files_along(client: Client, embedded_api: Api, tmp_path: Path) -> None:
    (tmp_path / "shot ü.png").write_bytes(b"PNG" * 100_000)
    (tmp_path / "notes").write_text("a")
    files = ("--attach", str(tmp_path / "shot ü.png"), "-a", str(tmp_path / "notes"))

    report = json.loads(client("run", "Look", *files, "--json").stdout)

    assert "You attached shot ü.png (image/png). You attached notes (application/octet-" in report["run"]["answer"]
    [message] = [each for each in embedded_api.output(report["session_id"]).ok()["messages"] if "attachments" in each]
    stored = embedded_api.read_file(report["session_id"], message["attachments"][0]["path"])
    assert stored.content == b"PNG" * 100_000
    assert client("sessions", "create", "Look", *files, "--wait").exit_code == 0


def test_the_first_message_of_a_conversation_takes_files_along(client: Client, session: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a")
    files = ("--attach", str(tmp_path / "notes.txt"))
    assert "You attached notes.txt" in client("chat", *files, stdin="Look\n").stdout
    assert "You attached notes.txt" in client("chat", session, *files, stdin="Look\n").stdout


def test_files_that_are_too_large_for_a_new_session_are_named(client: Client, tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(b"x" * 700_001)
    done = client("run", "Look", "--attach", str(tmp_path / "large.bin"))
    assert done.exit_code == 1
    assert done.stderr.startswith(f"{tmp_path}/large.bin is too large for a new session")
