"""`chat`, `tail`, `run` and `sessions diff` at a terminal, with a server process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Api, served_contract
from tests.support.deadline import eventually
from tests.support.server import ServerProcess, create_key, listening, server_process
from tests.support.terminal import CTRL_C, CTRL_D, terminal

pytestmark = pytest.mark.xdist_group("cli")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[ServerProcess]:
    with server_process(directory, GIT_PROTOCOLS="http", GIT_HOSTS="127.0.0.1") as server:
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


def test_tail_continues_when_the_server_is_restarted(tmp_path: Path) -> None:
    key = create_key(tmp_path)
    with server_process(tmp_path) as first, Api(first.url, served_contract(first.url), token=key) as api:
        session = api.running_session()
        run_id = api.send_message(session, "slow 3000").ok()["run_id"]
        with terminal("tail", session, "--run", run_id, AMBIENT_URL=first.url, AMBIENT_KEY=key) as shown:
            shown.wait_for("tick 2 of 3000")
            first.kill()
            shown.wait_for("The connection was lost")
            with server_process(tmp_path, port=first.port):
                shown.wait_for("The run failed")
                assert shown.wait() == 0


def test_a_run_is_interrupted_and_the_conversation_continues(environment: dict[str, str], api: Api) -> None:
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


def test_an_approval_at_the_end_of_a_run_is_decided_at_the_prompt(environment: dict[str, str], api: Api) -> None:
    session = api.running_session()
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


def test_an_approval_requested_during_a_run_is_decided_at_the_prompt(environment: dict[str, str], api: Api) -> None:
    session = api.running_session()
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


def test_the_prompt_is_repeated_during_a_run_until_the_decision_is_yes_or_no(
    environment: dict[str, str], api: Api
) -> None:
    session = api.running_session()
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


def test_ctrl_d_exits_when_the_run_in_progress_requests_an_approval(environment: dict[str, str], api: Api) -> None:
    session = api.running_session()
    api.send_message(session, "ask now").ok()
    eventually(lambda: api.list_approvals(session).ok()["items"])
    with terminal("chat", session, **environment) as shown:
        shown.wait_for("Allow? [y/n] ")
        shown.type(CTRL_D)
        assert shown.wait() == 0
        assert "Traceback" not in shown.text


def test_ctrl_c_cancels_a_queued_message(environment: dict[str, str], api: Api) -> None:
    session = api.running_session()
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


def test_no_session_is_offered_to_continue_when_it_does_not_exist(environment: dict[str, str]) -> None:
    with terminal("chat", "nope", **environment) as shown:
        assert shown.wait() == 1
        assert shown.text == "Session not found.\n"


def test_no_session_is_offered_to_continue_when_it_was_deleted(environment: dict[str, str], api: Api) -> None:
    session = api.running_session()
    with terminal("chat", session, **environment) as shown:
        shown.wait_for("> ")
        api.delete_session(session).ok()
        shown.type("Hello\n")
        assert shown.wait() == 1
        assert shown.text.endswith("Hello\nSession not found.\n")


def test_a_second_ctrl_c_exits_when_the_server_does_not_respond(tmp_path: Path) -> None:
    key = create_key(tmp_path)
    with server_process(tmp_path) as server, Api(server.url, served_contract(server.url), token=key) as api:
        session = api.running_session()
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


def test_the_run_in_progress_is_shown_first(environment: dict[str, str], api: Api) -> None:
    session = api.running_session()
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


def test_the_approvals_of_a_task_are_decided_at_the_prompt(environment: dict[str, str]) -> None:
    for task, answer, status in (("delete notes.txt", "y\n", 0), ("ask now", "n\n", 0), ("ask now", CTRL_D, 3)):
        with terminal("run", task, **environment) as shown:
            shown.wait_for("Allow? [y/n] ")
            shown.type(answer)
            assert shown.wait() == status, shown.text


def test_a_task_is_interrupted(environment: dict[str, str], api: Api) -> None:
    with terminal("run", "slow 3000", "--label", "test=interrupted", **environment) as shown:
        shown.wait_for("tick 2 of 3000")
        shown.type(CTRL_C)
        assert shown.wait() == 130
        assert "Interrupted." in shown.text
        assert "Traceback" not in shown.text

    [session] = api.list_sessions(label="test=interrupted").ok()["items"]
    assert [run["status"] for run in api.list_runs(session["id"]).ok()["runs"]] == ["interrupted"]


def test_a_task_is_cancelled_while_its_workspace_is_provisioned(environment: dict[str, str], api: Api) -> None:
    with listening() as stuck:
        url = f"http://127.0.0.1:{stuck.getsockname()[1]}/stuck.git"
        with terminal("run", "slow 3000", "--repo", url, **environment) as shown:
            session = shown.wait_for(" is pending").partition("Session ")[2].split()[0]
            shown.type(CTRL_C)
            assert shown.wait() == 130
            assert "Traceback" not in shown.text

        assert [run["status"] for run in api.list_runs(session).ok()["runs"]] == ["interrupted"]
        api.delete_session(session).ok()


def test_a_patch_cannot_control_the_terminal(environment: dict[str, str], api: Api) -> None:
    session = api.running_session()
    api.write_file(session, "notes", b"\x1b[2Jhello\n").ok()
    with terminal("sessions", "diff", session, **environment) as shown:
        assert shown.wait() == 0
        assert shown.text.endswith("+\\x1b[2Jhello\n")
    with terminal("sessions", "get", session, "notes", **environment) as shown:
        assert shown.wait() == 0
        assert shown.text == "\\x1b[2Jhello\n"


def _eventually_queued(api: Api, session: str) -> list[Any]:
    runs = eventually(lambda: api.list_runs(session, status="queued").ok()["runs"])
    return [run["run_id"] for run in runs]
