"""The command line, as processes."""

import json
import shlex
import socket
import subprocess
from pathlib import Path

import pytest
import requests
import yaml

from app import settings, spec
from tests.support.deadline import eventually
from tests.support.server import ServerProcess, run_command, server_process


def curl(line: str) -> list[str]:
    """The arguments of a printed curl line, made to say the status as well."""
    assert "|" not in line
    assert "\\" not in line
    return [*shlex.split(line), "--silent", "--max-time", "20", "--write-out", "\n%{http_code}"]


def fetched(line: str) -> tuple[int, str]:
    """Status and body of what a printed curl line fetches."""
    done = subprocess.run(curl(line), check=True, capture_output=True, text=True)  # noqa: S603 - the line that is tested
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def status_of(process: ServerProcess, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return requests.get(f"{process.url}/v1/sessions", headers=headers, timeout=20).status_code


class TestServe:
    def test_standard_output_is_silent_when_no_key_is_asked_for(self, tmp_path: Path) -> None:
        with server_process(tmp_path) as process:
            assert process.output == ""
            assert all("event" in line for line in process.log)

    def test_the_demo_line_works_as_it_stands_before_the_server_is_healthy(self, tmp_path: Path) -> None:
        with server_process(tmp_path, "serve", "--demo-key") as process:
            [line] = process.output.splitlines()
            assert line.startswith('curl -H "Authorization: Bearer ak_')
            assert line.endswith(f"{process.url}/v1/sessions")
            status, body = fetched(line)

        assert (status, json.loads(body)["items"]) == (200, [])

    def test_a_later_start_prints_a_new_key_and_revokes_the_old_one(self, tmp_path: Path) -> None:
        with server_process(tmp_path, "serve", "--demo-key") as process:
            first = process.output
            process.terminate()
            process.wait()
        with server_process(tmp_path, "serve", "--demo-key", port=process.port) as process:
            assert fetched(process.output)[0] == 200
            assert fetched(first)[0] == 401

    def test_a_second_server_on_the_port_leaves_the_first_ones_key_alone(self, tmp_path: Path) -> None:
        with server_process(tmp_path, "serve", "--demo-key") as process:
            second = run_command(tmp_path, "serve", "--demo-key", PORT=str(process.port))

            assert (second.returncode, second.stdout) == (1, "")
            assert second.stderr.splitlines() == [
                f"PORT {process.port} on 127.0.0.1 is in use; stop what listens there or set another PORT"
            ]
            assert fetched(process.output)[0] == 200

    def test_the_demo_line_names_an_address_that_can_be_reached_when_all_are_listened_on(self, tmp_path: Path) -> None:
        with server_process(tmp_path, "serve", "--demo-key", HOST="0.0.0.0") as process:  # noqa: S104 - what is tested
            assert f" http://127.0.0.1:{process.port}/v1/sessions" in process.output
            assert fetched(process.output)[0] == 200

    def test_no_key_is_in_the_log(self, tmp_path: Path) -> None:
        with server_process(tmp_path, "serve", "--demo-key", LOG_LEVEL="debug") as process:
            fetched(process.output)
            requests.get(f"{process.url}/v1/sessions?token=ak_0123456789abcdef", timeout=20)
            requests.get(f"{process.url}/ak_0123456789abcdef", timeout=20)
            process.terminate()
            process.wait()

            assert '"operation":"list_sessions"' in process.errors
            assert "ak_" not in process.errors

    def test_the_server_ends_cleanly_when_it_is_asked_to(self, tmp_path: Path) -> None:
        with server_process(tmp_path) as process:
            process.terminate()

            assert process.wait() == 0

    def test_a_request_in_flight_is_answered_when_the_server_is_asked_to_end(self, tmp_path: Path) -> None:
        with server_process(tmp_path, "serve", "--demo-key") as process:
            key = shlex.split(process.output)[2]
            head = f"POST /v1/sessions HTTP/1.1\r\n{key}\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
            with socket.create_connection(("127.0.0.1", process.port), timeout=20) as client:
                client.sendall(head.encode())
                assert client.recv(1000).startswith(b"HTTP/1.1 100 Continue")
                process.terminate()
                eventually(lambda: "Shutting down" in process.errors)
                client.sendall(b"{}")

                assert client.recv(1000).startswith(b"HTTP/1.1 400 Bad Request")
            assert process.wait() == 0

    @pytest.mark.parametrize(
        ("name", "value"),
        [("PORT", "eighty"), ("BACKEND_URL", "postgresql://me:secret@host/db"), ("RUN_TIMEOUT", "1y")],
    )
    def test_a_wrong_setting_stops_the_start_with_one_line(self, tmp_path: Path, name: str, value: str) -> None:
        done = run_command(tmp_path, **{name: value})

        assert (done.returncode, done.stdout) == (2, "")
        [line] = done.stderr.splitlines()
        assert line.startswith(f"{name} must be ")
        assert "secret" not in line


class TestKeys:
    def test_a_new_key_is_one_line_that_opens_its_project(self, tmp_path: Path) -> None:
        made = run_command(tmp_path, "keys", "create", "--project", "shop", "--role", "view", "--expires", "30d")

        assert made.returncode == 0
        [key] = made.stdout.splitlines()
        assert key.startswith("ak_")
        with server_process(tmp_path) as process:
            assert status_of(process, key) == 200

    def test_a_key_made_while_the_server_runs_counts_at_once_and_so_does_its_revocation(self, tmp_path: Path) -> None:
        with server_process(tmp_path) as process:
            key = run_command(tmp_path, "keys", "create", "--project", "shop", "--role", "edit").stdout.strip()
            assert status_of(process, key) == 200
            [_, line] = run_command(tmp_path, "keys", "list").stdout.splitlines()

            revoked = run_command(tmp_path, "keys", "revoke", line.split("\t")[0])

            assert (revoked.returncode, status_of(process, key)) == (0, 401)

    def test_the_list_shows_all_but_the_keys(self, tmp_path: Path) -> None:
        options = ["--project", "shop", "--role", "admin", "--name", "ci"]
        key = run_command(tmp_path, "keys", "create", *options).stdout.strip()

        listed = run_command(tmp_path, "keys", "list")

        head, line = (row.split("\t") for row in listed.stdout.splitlines())
        assert head == ["id", "project", "role", "name", "created", "expires", "revoked"]
        assert (line[1:4], line[5:]) == (["shop", "admin", "ci"], ["-", "-"])
        assert key not in listed.stdout

    def test_an_unknown_key_cannot_be_revoked(self, tmp_path: Path) -> None:
        run_command(tmp_path, "keys", "create", "--project", "shop", "--role", "view")

        done = run_command(tmp_path, "keys", "revoke", "nope")

        assert (done.returncode, done.stderr.strip()) == (1, "Key not found.")

    @pytest.mark.parametrize("command", [["list"], ["revoke", "nope"]])
    def test_where_no_store_is_none_is_made(self, tmp_path: Path, command: list[str]) -> None:
        done = run_command(tmp_path, "keys", *command)

        assert (done.returncode, done.stderr) == (1, f"there is no session store {tmp_path / 'data' / 'ambient.db'}\n")
        assert list(tmp_path.iterdir()) == []

    def test_who_makes_a_store_with_a_key_is_told(self, tmp_path: Path) -> None:
        first, second = (
            run_command(tmp_path, "keys", "create", "--project", "shop", "--role", "view") for _ in range(2)
        )

        assert (len(first.stdout.splitlines()), "data/ambient.db" in first.stderr) == (1, True)
        assert (len(second.stdout.splitlines()), second.stderr) == (1, "")

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            (["--project", "Shop", "--role", "view"], "--project"),
            (["--project", "shop\n", "--role", "view"], "--project"),
            (["--project", "shop", "--role", "owner"], "--role"),
            (["--project", "shop", "--role", "view", "--name", "a\tb"], "--name"),
            (["--project", "shop", "--role", "view", "--expires", "1y"], "--expires"),
            (["--project", "shop", "--role", "view", "--expires", "99999d"], "--expires"),
        ],
    )
    def test_a_wrong_option_is_named(self, tmp_path: Path, options: list[str], named: str) -> None:
        done = run_command(tmp_path, "keys", "create", *options)

        assert (done.returncode, done.stdout) == (2, "")
        assert named in done.stderr.splitlines()[-1]

    def test_there_are_no_keys_of_ours_when_a_platform_is_the_backend(self, tmp_path: Path) -> None:
        done = run_command(tmp_path, "keys", "list", BACKEND_URL="http://backend:8080")

        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert "BACKEND_URL" in done.stderr

    def test_a_store_that_cannot_be_made_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "data").write_text("a file where a directory should be")

        done = run_command(tmp_path, "keys", "create", "--project", "shop", "--role", "view")

        assert (done.returncode, len(done.stderr.splitlines())) == (1, 2)


class TestSpec:
    def test_the_document_is_printed_as_it_is_served(self, tmp_path: Path) -> None:
        printed = {form: run_command(tmp_path, "spec", "--format", form).stdout for form in ("json", "yaml")}

        assert json.loads(printed["json"]) == yaml.safe_load(printed["yaml"]) == spec.load()

    def test_yaml_is_printed_when_no_format_is_given(self, tmp_path: Path) -> None:
        assert run_command(tmp_path, "spec").stdout.startswith("openapi: 3.0.3\n")


def test_help_names_every_command_and_setting(tmp_path: Path) -> None:
    text = run_command(tmp_path, "--help").stdout

    assert all(f"\n  {command} " in text for command in ("serve", "keys", "spec"))
    assert all(f"{setting.name}={setting.default}" in text for setting in settings.reference())
