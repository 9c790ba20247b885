"""`chat` and `tail` without a terminal, also over connections that break. tests/e2e/test_cli.py has a terminal."""

import json

from tests.cli.conftest import Client
from tests.support.api import Api
from tests.support.cutting import cutting

LOST = "The connection was lost; trying again.\n"


class TestChat:
    def test_a_message_creates_a_session_and_only_the_response_is_on_standard_output(
        self, client: Client, embedded_api: Api
    ) -> None:
        done = client("chat", stdin="Guten Tag, \x1b[31mgrün\n")

        assert done.exit_code == 0, done.stderr
        assert done.stdout.startswith('You said: "Guten Tag, [31mgrün". I am the demo agent')
        assert done.stdout.endswith("repeat your earlier messages.\n")
        [line] = done.stderr.splitlines()
        assert embedded_api.get_session(line.removeprefix("Session ")).ok()["task"] == "Guten Tag, \x1b[31mgrün"

    def test_a_new_session_has_the_agent_that_is_named(self, client: Client, embedded_api: Api, session: str) -> None:
        done = client("chat", "--agent", "demo", stdin="slow 0")
        assert embedded_api.get_session(done.stderr.splitlines()[0].removeprefix("Session ")).ok()["agent"] == "demo"
        assert client("chat", "--agent", "nobody", stdin="slow 0").exit_code == 1
        assert client("chat", session, "--agent", "demo", stdin="slow 0").exit_code == 2

    def test_a_message_continues_the_conversation_of_a_session(self, client: Client, session: str) -> None:
        done = client("chat", session, stdin="what did I say?")

        assert (done.exit_code, done.stdout, done.stderr) == (0, 'You said: "slow 0".\n', "")

    def test_a_run_that_fails_is_an_exit_status(self, client: Client, session: str) -> None:
        done = client("chat", session, stdin="fail")

        assert (done.exit_code, done.stdout) == (1, "I stop here with an error, as requested.\n")
        assert done.stderr == "The run failed: The demo agent failed, as requested.\n"

    def test_a_run_that_waits_for_a_decision_has_an_exit_status_of_its_own(self, client: Client, session: str) -> None:
        done = client("chat", session, stdin="delete notes.txt")

        assert done.exit_code == 3, done.stderr
        assert done.stderr == "The agent is waiting for an approval.\n"

    def test_the_run_that_a_policy_begins_is_shown_too(self, client: Client, embedded_api: Api) -> None:
        created = embedded_api.create_session(task="slow 0", approval_policy="allow").ok()
        embedded_api.wait_for_status(created["id"], "running")
        embedded_api.wait_for_run(created["id"], created["run_id"])

        done = client("chat", created["id"], stdin="ask")

        assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "Thank you, I will continue.")

    def test_the_error_for_a_stopped_session_has_the_command_that_starts_it(
        self, client: Client, embedded_api: Api, session: str
    ) -> None:
        embedded_api.stop_session(session).ok()

        done = client("chat", session, stdin="Hello")

        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith("The session is stopped. To start it again: ")
        assert done.stderr.endswith(f" sessions start {session}\n")

    def test_a_response_is_complete_when_its_connection_breaks(
        self, client: Client, embedded_api: Api, session: str
    ) -> None:
        with cutting(int(embedded_api.url.rpartition(":")[2]), 2500) as relay:
            done = client("chat", session, stdin="slow 9", AMBIENT_URL=relay.url)

        assert (done.exit_code, done.stdout) == (0, "".join(f"tick {number} of 9\n" for number in range(1, 10)))
        assert done.stderr == LOST


class TestTail:
    def test_the_log_is_shown_as_a_conversation(self, client: Client, embedded_api: Api) -> None:
        done = client("tail", embedded_api.running_session("list the files"), "--no-follow")

        assert (done.exit_code, done.stderr) == (0, "")
        assert done.stdout == '> list the files\n→ list_workspace {"limit":100}\nThe workspace is empty.\n'

    def test_every_event_is_shown_once_when_the_connection_breaks_again_and_again(
        self, client: Client, embedded_api: Api, session: str
    ) -> None:
        run_id = embedded_api.send_message(session, "slow 6").ok()["run_id"]
        with cutting(int(embedded_api.url.rpartition(":")[2]), 400, 700, 900) as relay:
            done = client("tail", session, "--run", run_id, "--json", AMBIENT_URL=relay.url)
            assert relay.connections == 4

        assert done.exit_code == 0, done.stderr
        shown = [json.loads(line) for line in done.stdout.splitlines()]
        assert shown == embedded_api.output(session, format="events", run_id=run_id).ok()["events"]
        assert done.stderr == 3 * LOST
