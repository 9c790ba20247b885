"""State that survives the end of the server, planned or not."""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

from tests.support import platform_failures as failures
from tests.support.agents.process import scripted_acp
from tests.support.api import Api, served_contract
from tests.support.deadline import eventually
from tests.support.platform import FakePlatform
from tests.support.processes import working_in
from tests.support.server import ServerProcess, create_key, server_process
from tests.support.store import KILLED


@contextlib.contextmanager
def running(directory: Path, key: str, **environment: str) -> Iterator[tuple[ServerProcess, Api]]:
    with (
        server_process(directory, port=None, **environment) as server,
        Api(server.url, served_contract(server.url), token=key) as api,
    ):
        yield server, api


def test_after_a_crash_accepted_runs_go_on_and_the_active_one_is_closed(tmp_path: Path) -> None:
    key = create_key(tmp_path)
    with running(tmp_path, key) as (server, api):
        session_id = api.create_session(task="slow 0").ok()["id"]
        api.wait_for_status(session_id, "running")
        stopped = api.create_session(task="slow 0").ok()["id"]
        api.wait_for_status(stopped, "running")
        api.stop_session(stopped).ok()
        api.wait_for_status(stopped, "stopped")
        active = api.send_message(session_id, "slow 3000").ok()["run_id"]
        waiting = [api.send_message(session_id, text).ok()["run_id"] for text in ("list the files", "slow 1")]
        seen = eventually(
            lambda: api.output(session_id, format="events", run_id=active).ok()["events"],
            lambda events: "TEXT_MESSAGE_CONTENT" in [event["type"] for event in events],
        )
        server.kill()
    with running(tmp_path, key) as (_, api):
        for run_id in waiting:
            assert api.wait_for_run(session_id, run_id)["status"] == "completed"
        closed = api.get_run(session_id, active).ok()
        assert closed["status"] == "error"
        assert closed["error"]
        events = api.output(session_id, format="events", run_id=active).ok()["events"]
        assert events[: len(seen)] == seen
        assert (events[-1]["type"], events[-1]["code"]) == ("RUN_ERROR", KILLED[0])
        assert [event["type"] for event in events].count("TEXT_MESSAGE_END") == 1
        assert api.get_session(session_id).ok()["status"] == "running"
        assert api.get_session(stopped).ok()["status"] == "stopped"
        assert api.list_runs(session_id, status="running").ok()["runs"] == []
        assert api.say(session_id, "what did I say?")["status"] == "completed"


def test_an_agent_of_a_killed_server_is_ended_with_its_commands_and_another_goes_on_where_it_was(
    tmp_path: Path,
) -> None:
    key = create_key(tmp_path)
    agent = scripted_acp("--load")
    with running(tmp_path, key, AGENT=agent) as (server, api):
        session_id = api.create_session(task="hello").ok()["id"]
        api.wait_for_status(session_id, "running")
        active = api.send_message(session_id, "leave hanging").ok()["run_id"]
        eventually(lambda: api.get_run(session_id, active).ok()["event_count"], lambda count: count > 2)
        assert len(working_in(session_id)) == 2, "the agent and its command"
        server.kill()
        eventually(lambda: not working_in(session_id))
    with running(tmp_path, key, AGENT=agent) as (_, api):
        assert api.wait_for_run(session_id, active)["status"] == "error"
        run = api.say(session_id, "again")
        [answer] = [
            each for each in api.output(session_id, run_id=run["run_id"]).ok()["messages"] if each["role"] != "user"
        ]
        assert answer["content"] == "3: again"


def test_a_question_that_was_open_at_a_crash_is_closed_with_its_run(tmp_path: Path) -> None:
    key = create_key(tmp_path)
    with running(tmp_path, key) as (server, api):
        session_id = api.create_session(task="slow 0").ok()["id"]
        api.wait_for_status(session_id, "running")
        run_id = api.send_message(session_id, "ask now").ok()["run_id"]
        [approval] = eventually(lambda: api.list_approvals(session_id).ok()["items"])
        server.kill()
    with running(tmp_path, key) as (_, api):
        assert api.wait_for_run(session_id, run_id)["status"] == "error"
        assert api.list_approvals(session_id).ok() == {"items": []}
        assert api.answer_approval(session_id, approval["id"], "allow").error == (409, "approval_closed")
        *_, resolved, end = api.output(session_id, format="events", run_id=run_id).ok()["events"]
        assert (resolved["name"], resolved["value"]) == (
            "approval.resolved",
            {"id": approval["id"], "status": "expired"},
        )
        assert (end["type"], end["code"]) == ("RUN_ERROR", KILLED[0])


def test_a_session_that_was_accepted_before_a_crash_gets_its_task_done_once(tmp_path: Path) -> None:
    key = create_key(tmp_path)
    once: dict[str, Any] = {"headers": {"Idempotency-Key": "k"}, "body": {"task": "list the files"}}
    with running(tmp_path, key) as (server, api):
        created = api.call("create_session", **once)
        session_id = created.ok()["id"]
        server.kill()
    with running(tmp_path, key) as (_, api):
        again = api.call("create_session", **once)
        assert (again.content, again.headers["Idempotency-Replayed"]) == (created.content, "true")
        assert api.list_sessions().ok()["total"] == 1
        api.wait_for_status(session_id, "running")
        [run] = eventually(
            lambda: api.list_runs(session_id).ok()["runs"],
            lambda runs: runs[0]["status"] not in {"queued", "running"},
        )
        assert run["user_message"] == "list the files"
        assert run["status"] == "completed" or run["error"]


def test_a_request_that_a_crash_cuts_off_from_the_platform_is_not_sent_twice(tmp_path: Path) -> None:
    headers = {"Authorization": "Bearer t", "X-Ambient-Project": "demo", "Idempotency-Key": "k"}
    with FakePlatform() as platform, ThreadPoolExecutor(1) as pool:
        platform.next("create", failures.hang)
        with server_process(tmp_path, BACKEND_URL=platform.url) as server:
            url = f"{server.url}/v1/sessions"
            first = pool.submit(requests.post, url, json={"task": "x"}, headers=headers, timeout=60)
            eventually(lambda: "create" in platform.operations())
            server.kill()
            assert isinstance(first.exception(60), requests.ConnectionError)
        with server_process(tmp_path, BACKEND_URL=platform.url) as server:
            again = requests.post(f"{server.url}/v1/sessions", json={"task": "x"}, headers=headers, timeout=60)
        assert (again.status_code, again.json()["code"]) == (409, "idempotency_outcome_unknown")
        assert platform.operations().count("create") == 1


def test_a_request_in_flight_is_answered_before_the_server_ends(tmp_path: Path) -> None:
    key = create_key(tmp_path)
    with running(tmp_path, key) as (server, api):
        session_id = api.create_session(task="slow 0").ok()["id"]
        api.wait_for_status(session_id, "running")
        active = api.send_message(session_id, "slow 3000").ok()["run_id"]
        api.wait_for_run(session_id, active, "running")
        waiting = api.send_message(session_id, "list the files").ok()["run_id"]
        with half_sent(server, key, {"task": "sent while the server ends"}) as finish:
            server.terminate()
            eventually(lambda: not is_listening(server))
            status, body = finish()
        assert status == 201
        assert server.wait() == 0
        assert isinstance(server.log, list)
    with running(tmp_path, key) as (_, api):
        assert api.get_session(body["id"]).ok()["task"] == "sent while the server ends"
        events = api.output(session_id, format="events", run_id=active).ok()["events"]
        assert (events[-1]["type"], events[-1]["code"]) == ("RUN_ERROR", "server_restarted")
        assert api.wait_for_run(session_id, waiting)["status"] == "completed"


def is_listening(server: ServerProcess) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", server.port)) == 0


def test_who_waits_for_a_run_learns_what_it_is_when_the_server_stops(tmp_path: Path) -> None:
    key = create_key(tmp_path)
    with running(tmp_path, key) as (server, api):
        session_id = api.create_session(task="slow 3000").ok()["id"]
        api.wait_for_status(session_id, "running")
        [run] = api.list_runs(session_id).ok()["runs"]
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
            target = f"/v1/sessions/{session_id}/runs/{run['run_id']}?wait=60"
            connection.request("GET", target, headers={"Authorization": f"Bearer {key}"})
            api.get_session(session_id).ok()  # was sent later and is answered: the server has read both
            server.terminate()
            answer = connection.getresponse()
            assert (answer.status, json.load(answer)["status"]) == (200, "running")
        assert server.wait() == 0


@contextlib.contextmanager
def half_sent(server: ServerProcess, key: str, body: Any) -> Iterator[Any]:
    """A create request whose body the server is waiting for; the value sends it and returns status and body."""
    content = json.dumps(body).encode()
    head = (
        f"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nExpect: 100-continue\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")

        def finish() -> tuple[int, Any]:
            connection.sendall(content)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
            received, _, rest = answer.partition(b"\r\n\r\n")
            return int(received.split()[1]), json.loads(rest)

        yield finish


def test_the_store_is_ready_for_the_next_start_after_a_stop(tmp_path: Path) -> None:
    key = create_key(tmp_path)
    with running(tmp_path, key) as (server, api):
        session_id = api.create_session(task="slow 0").ok()["id"]
        api.wait_for_status(session_id, "running")
        before = api.output(session_id, format="events").content
        server.terminate()
        assert server.wait() == 0
    with running(tmp_path, key) as (server, api):
        assert api.output(session_id, format="events").content.startswith(before[:-2])
        assert requests.get(f"{server.url}/ready", timeout=10).ok
