"""The server as a process: how it starts, how it ends, and what it writes meanwhile."""

import socket
from pathlib import Path

import requests

from tests.support.deadline import eventually
from tests.support.server import create_key, run_command, server_process
from tests.support.store import sqlite_only


def test_a_server_without_demo_key_logs_json_and_prints_nothing(tmp_path: Path) -> None:
    with server_process(tmp_path) as server:
        assert server.output == ""
        assert all("event" in line for line in server.log)
        server.terminate()
        assert server.wait() == 0


@sqlite_only
def test_a_server_with_a_sqlite_file_loads_nothing_that_only_postgresql_needs(tmp_path: Path) -> None:
    with server_process(tmp_path) as server:
        assert "psycopg" not in Path(f"/proc/{server.pid}/maps").read_text()


def test_no_key_is_in_the_log(tmp_path: Path) -> None:
    key = create_key(tmp_path)
    with server_process(tmp_path, LOG_LEVEL="debug") as server:
        requests.get(f"{server.url}/v1/sessions", headers={"Authorization": f"Bearer {key}"}, timeout=20)
        requests.get(f"{server.url}/v1/sessions?token=ak_0123456789abcdef", timeout=20)
        requests.get(f"{server.url}/ak_0123456789abcdef", timeout=20)
        server.terminate()
        server.wait()

        assert '"operation":"list_sessions"' in server.errors
        assert "ak_" not in server.errors


def test_a_request_in_flight_is_answered_when_the_server_is_asked_to_end(tmp_path: Path) -> None:
    head = "POST /v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
    head += f"Authorization: Bearer {create_key(tmp_path)}\r\n"
    with server_process(tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
            client.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
            assert client.recv(1000).startswith(b"HTTP/1.1 100 Continue")
            server.terminate()
            eventually(lambda: "Shutting down" in server.errors)
            client.sendall(b"{}")

            assert client.recv(1000).startswith(b"HTTP/1.1 400 Bad Request")
        assert server.wait() == 0


def test_a_second_server_is_refused_and_leaves_the_key_of_the_first_alone(tmp_path: Path) -> None:
    with server_process(tmp_path, "serve", "--demo-key", HOST="0.0.0.0") as server:  # noqa: S104 - what is tested
        same_port, same_store = (run_command(tmp_path, "serve", "--demo-key", PORT=p) for p in (str(server.port), "0"))

        for second, line in ((same_port, f"PORT {server.port} on "), (same_store, "Another server uses ")):
            assert (second.returncode, second.stdout, len(second.stderr.splitlines())) == (1, "", 1)
            assert second.stderr.startswith(line)
        [_, key] = run_command(tmp_path, "keys", "list").stdout.splitlines()
        assert key.endswith("\t-\t-")


def test_without_a_command_the_program_prints_its_help(tmp_path: Path) -> None:
    done = run_command(tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert "serve" in done.stdout
    assert list(tmp_path.iterdir()) == []
