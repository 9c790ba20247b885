"""The client in the terminal, before a server process: piped, at a terminal, over connections that break."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Api, served_contract
from tests.support.cutting import cutting
from tests.support.deadline import eventually
from tests.support.server import ROOT, ServerProcess, command, create_key, server_process
from tests.support.terminal import CTRL_C, CTRL_D, terminal

pytestmark = pytest.mark.xdist_group("cli")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[ServerProcess]:
    with server_process(directory) as server:
        yield server


@pytest.fixture(scope="module")
def key(directory: Path) -> str:
    return create_key(directory)


@pytest.fixture(scope="module")
def api(server: ServerProcess, key: str) -> Iterator[Api]:
    with Api(server.url, served_contract(server.url), token=key) as api:
        yield api


@pytest.fixture
def environment(server: ServerProcess, key: str, tmp_path: Path) -> dict[str, str]:
    return {"AMBIENT_URL": server.url, "AMBIENT_KEY": key, "HOME": str(tmp_path)}


def run(environment: dict[str, str], *arguments: str, said: str = "") -> "subprocess.CompletedProcess[str]":
    """The command without a terminal; the key is never shown."""
    done = subprocess.run(  # noqa: S603 - our own command
        command(*arguments),
        check=False,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        input=said,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert environment["AMBIENT_KEY"] not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    return done


def running_session(api: Api, task: str = "slow 0") -> str:
    session = api.create_session(task=task).ok()["id"]
    api.wait_for_status(session, "running")
    [task_run] = api.list_runs(session).ok()["runs"]
    api.wait_for_run(session, task_run["run_id"])
    return str(session)


class TestPiped:
    def test_a_message_makes_a_session_and_only_the_answer_is_on_standard_output(
        self, environment: dict[str, str], api: Api
    ) -> None:
        done = run(environment, "chat", said="Guten Tag, \x1b[31mgrün\n")

        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith('You said: "Guten Tag, [31mgrün". I am the demo agent')
        assert done.stdout.endswith("repeat your earlier messages.\n")
        [line] = done.stderr.splitlines()
        assert api.get_session(line.removeprefix("Session ")).ok()["task"] == "Guten Tag, \x1b[31mgrün"

    def test_a_message_to_a_session_is_answered_in_its_conversation(
        self, environment: dict[str, str], api: Api
    ) -> None:
        done = run(environment, "chat", running_session(api), said="what did I say?")

        assert (done.returncode, done.stdout, done.stderr) == (0, 'You said: "slow 0".\n', "")

    def test_a_run_that_fails_is_an_exit_status(self, environment: dict[str, str], api: Api) -> None:
        done = run(environment, "chat", running_session(api), said="fail")

        assert (done.returncode, done.stdout) == (1, "I stop here with an error, as requested.\n")
        assert done.stderr == "The run failed: The demo agent failed, as requested.\n"

    def test_a_stopped_session_says_how_to_go_on(self, environment: dict[str, str], api: Api) -> None:
        session = running_session(api)
        api.stop_session(session).ok()

        done = run(environment, "chat", session, said="Hello")

        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("The session is stopped. To start it again: ")
        assert done.stderr.endswith(f" -m app sessions start {session}\n")

    def test_the_log_is_shown_as_a_conversation(self, environment: dict[str, str], api: Api) -> None:
        done = run(environment, "tail", running_session(api, task="list the files"), "--no-follow")

        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == '> list the files\n→ list_workspace {"limit":100}\nThe workspace is empty.\n'


class TestBrokenConnections:
    def test_every_event_comes_once_when_the_connection_is_cut_again_and_again(
        self, environment: dict[str, str], server: ServerProcess, api: Api
    ) -> None:
        session = running_session(api)
        run_id = api.send_message(session, "slow 6").ok()["run_id"]
        with cutting(server.port, 400, 700, 900) as relay:
            done = run(environment | {"AMBIENT_URL": relay.url}, "tail", session, "--run", run_id, "--json")
            assert relay.connections == 4

        assert done.returncode == 0, done.stderr
        shown = [json.loads(line) for line in done.stdout.splitlines()]
        assert shown == api.output(session, format="events", run_id=run_id).ok()["events"]
        assert done.stderr.splitlines() == ["The connection was lost; trying again."] * 3

    def test_an_answer_is_whole_when_its_connection_is_cut(
        self, environment: dict[str, str], server: ServerProcess, api: Api
    ) -> None:
        session = running_session(api)
        with cutting(server.port, 2500) as relay:
            done = run(environment | {"AMBIENT_URL": relay.url}, "chat", session, said="slow 9")

        assert (done.returncode, done.stdout) == (0, "".join(f"tick {number} of 9\n" for number in range(1, 10)))
        assert done.stderr == "The connection was lost; trying again.\n"

    def test_a_log_that_is_read_goes_on_when_the_server_starts_again(self, tmp_path: Path) -> None:
        key = create_key(tmp_path)
        with server_process(tmp_path) as first, Api(first.url, served_contract(first.url), token=key) as api:
            session = running_session(api)
            run_id = api.send_message(session, "slow 3000").ok()["run_id"]
            with terminal("tail", session, "--run", run_id, AMBIENT_URL=first.url, AMBIENT_KEY=key) as shown:
                shown.wait_for("tick 2 of 3000")
                first.kill()
                shown.wait_for("The connection was lost")
                with server_process(tmp_path, port=first.port):
                    shown.wait_for("The run failed")
                    assert shown.wait() == 0


class TestAtATerminal:
    def test_a_conversation_with_an_interrupted_run(self, environment: dict[str, str], api: Api) -> None:
        with terminal("chat", **environment) as shown:
            shown.wait_for("> ")
            shown.type("list the files\n")
            session = shown.wait_for(" is empty.").partition("Session ")[2].split()[0]
            shown.wait_for("> ")
            shown.type("slow 3000\n")
            shown.wait_for("tick 1 of 3000")
            shown.type(CTRL_C)
            shown.wait_for("Interrupted.")
            shown.wait_for("> ")
            shown.type("what did I say?\n")
            shown.wait_for('You said: "list the files", then "slow 3000".')
            shown.wait_for("> ")
            shown.type(CTRL_D)
            shown.wait_for("To continue: ")
            shown.wait_for(f" -m app chat {session}")
            assert shown.wait() == 0

        assert [run["status"] for run in api.list_runs(session).ok()["runs"]] == [
            "completed",
            "interrupted",
            "completed",
        ]
        assert environment["AMBIENT_KEY"] not in shown.text
        assert "Traceback" not in shown.text

    def test_what_the_agent_asks_is_answered_at_the_prompt(self, environment: dict[str, str], api: Api) -> None:
        session = running_session(api)
        with terminal("chat", session, **environment) as shown:
            shown.wait_for("> ")
            shown.type("delete notes.txt\n")
            assert "delete_file" in shown.wait_for("Allow? [y/n] ")
            shown.type("n\n")
            shown.wait_for("The user denied it.")
            shown.wait_for("> ")
            shown.type("ask\n")
            shown.wait_for("Allow? [y/n] ")
            shown.type("y\n")
            shown.wait_for("Thank you, I will continue.")
            shown.wait_for("> ")
            shown.type(CTRL_D)
            assert shown.wait() == 0

    def test_what_the_agent_asks_within_its_run_is_answered_at_the_prompt(
        self, environment: dict[str, str], api: Api
    ) -> None:
        session = running_session(api)
        with terminal("chat", session, **environment) as shown:
            shown.wait_for("> ")
            for answer, said in (
                ("y\n", "Thank you, I will continue. (once)"),
                ("n\n", "All right, I will stop here. (no)"),
            ):
                shown.type("ask now\n")
                assert "May I continue?" in shown.wait_for("Allow? [y/n] ")
                shown.type(answer)
                shown.wait_for(said)
                shown.wait_for("> ")
            shown.type("ask now\n")
            shown.wait_for("Allow? [y/n] ")
            [approval] = api.list_approvals(session).ok()["items"]
            api.answer_approval(session, approval["id"], "allow").ok()
            shown.type("n\n")
            shown.wait_for("Too late: the approval is closed.")
            shown.wait_for("Thank you, I will continue. (once)")
            shown.wait_for("> ")
            shown.type("ask now\n")
            shown.wait_for("Allow? [y/n] ")
            shown.type(CTRL_C)
            shown.wait_for("Interrupted.")
            shown.wait_for("> ")
            shown.type(CTRL_D)
            assert shown.wait() == 0

    def test_what_the_agent_asks_within_its_run_is_asked_again_until_the_answer_is_yes_or_no(
        self, environment: dict[str, str], api: Api
    ) -> None:
        session = running_session(api)
        with terminal("chat", session, **environment) as shown:
            for last, said in (("y\n", "Thank you, I will continue. (once)"), (CTRL_C, "Interrupted.")):
                shown.wait_for("> ")
                shown.type("ask now\n")
                for answer in ("maybe\n", "\n"):
                    shown.wait_for("Allow? [y/n] ")
                    shown.type(answer)
                    shown.wait_for("The run is waiting: type y to allow it, n to deny it.")
                shown.wait_for("Allow? [y/n] ")
                shown.type(last)
                shown.wait_for(said)
            shown.wait_for("> ")
            shown.type("ask now\n")
            shown.wait_for("Allow? [y/n] ")
            shown.type("maybe\n")
            shown.wait_for("Allow? [y/n] ")
            shown.type(CTRL_D)
            assert shown.wait() == 0

    def test_ctrl_d_leaves_when_the_run_that_is_shown_first_asks(self, environment: dict[str, str], api: Api) -> None:
        session = running_session(api)
        api.send_message(session, "ask now").ok()
        eventually(lambda: api.list_approvals(session).ok()["items"])
        with terminal("chat", session, **environment) as shown:
            shown.wait_for("Allow? [y/n] ")
            shown.type(CTRL_D)
            assert shown.wait() == 0
            assert "Traceback" not in shown.text

    def test_ctrl_c_takes_back_a_message_that_waits(self, environment: dict[str, str], api: Api) -> None:
        session = running_session(api)
        with terminal("chat", session, **environment) as shown:
            shown.wait_for("> ")
            active = api.send_message(session, "slow 3000").ok()["run_id"]
            shown.type("list the files\n")
            shown.wait_for("Waiting for the agent")
            [waiting] = _eventually_queued(api, session)
            shown.type(CTRL_C)
            shown.wait_for("> ")

        assert api.get_run(session, waiting).ok()["status"] == "interrupted"
        assert api.get_run(session, active).ok()["status"] == "running"

    def test_nothing_is_to_go_on_when_the_session_is_not_there(self, environment: dict[str, str]) -> None:
        with terminal("chat", "nope", **environment) as shown:
            assert shown.wait() == 1
            assert shown.text == "Session not found.\n"

    def test_nothing_is_to_go_on_when_the_session_is_deleted(self, environment: dict[str, str], api: Api) -> None:
        session = running_session(api)
        with terminal("chat", session, **environment) as shown:
            shown.wait_for("> ")
            api.delete_session(session).ok()
            shown.type("Hello\n")
            assert shown.wait() == 1
            assert shown.text.endswith("Hello\nSession not found.\n")

    def test_a_second_ctrl_c_leaves_when_the_server_does_not_answer(self, tmp_path: Path) -> None:
        key = create_key(tmp_path)
        with server_process(tmp_path) as server, Api(server.url, served_contract(server.url), token=key) as api:
            session = running_session(api)
            with terminal("chat", session, AMBIENT_URL=server.url, AMBIENT_KEY=key) as shown:
                shown.wait_for("> ")
                shown.type("slow 3000\n")
                shown.wait_for("tick 1 of 3000")
                server.freeze()
                shown.type(CTRL_C)
                shown.wait_for("Interrupting the run")
                shown.type(CTRL_C)
                assert shown.wait() == 130
                assert "Traceback" not in shown.text

    def test_an_active_run_is_shown_first(self, environment: dict[str, str], api: Api) -> None:
        session = running_session(api)
        run_id = api.send_message(session, "slow 3000").ok()["run_id"]
        api.wait_for_run(session, run_id, "running")
        with terminal("chat", session, **environment) as shown:
            shown.wait_for("> slow 3000")
            shown.wait_for("tick 2 of 3000")
            shown.type(CTRL_C)
            shown.wait_for("Interrupted.")
            shown.wait_for("> ")
            shown.type(CTRL_C)
            assert shown.wait() == 130


def _eventually_queued(api: Api, session: str) -> list[Any]:
    runs = eventually(lambda: api.list_runs(session, status="queued").ok()["runs"])
    return [run["run_id"] for run in runs]
