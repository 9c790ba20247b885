"""How the server starts, and how it says that it cannot."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from tests.support.server import listening, run_command, server_process


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "eighty"),
        ("BACKEND_URL", "postgresql://user:hunter2@db/ambient"),
        ("BACKEND_URL", "http://user:hunter2@platform"),
        ("BACKEND_TIMEOUT", "30"),
        ("RATE_LIMIT_RPS", "0"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("AGENT", "agui+ftp://h/"),
        ("RUN_TIMEOUT", "1y"),
        ("OTEL_ENABLED", "perhaps"),
    ],
)
def test_a_bad_setting_is_named_in_one_line(tmp_path: Path, variable: str, value: str) -> None:
    result = run_command(tmp_path, **{variable: value})
    assert result.returncode == 2
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith(f"{variable} must be ")
    assert "hunter2" not in line
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("arguments", [(), ("serve", "--demo-key")])
def test_a_port_in_use_is_told_in_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with listening() as listener:
        port = str(listener.getsockname()[1])
        result = run_command(tmp_path, *arguments, PORT=port)
    assert (result.returncode, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert port in line


def test_the_demo_key_of_a_running_server_outlives_a_second_start(tmp_path: Path) -> None:
    with server_process(tmp_path, "serve", "--demo-key") as server:
        again = run_command(tmp_path, "serve", "--demo-key", PORT=str(server.port))
        assert again.returncode == 1
        listed = run_command(tmp_path, "keys", "list")
    [_, key] = listed.stdout.splitlines()
    assert key.endswith("\t-")


@pytest.mark.parametrize("arguments", [(), ("serve", "--demo-key"), ("keys", "list")])
def test_a_store_of_another_version_is_refused_in_one_line_and_left_as_it_is(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    assert run_command(tmp_path, "keys", "create", "--project", "demo", "--role", "view").returncode == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "ambient.db")) as store, store:
        store.execute("UPDATE alembic_version SET version_num = '9999'")
    result = run_command(tmp_path, *arguments, PORT="0")
    assert (result.returncode, result.stdout) == (1, "")
    assert "was written by another version of this server. Start that version, or move" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_store_that_another_server_uses_is_told_in_one_line_and_its_demo_key_stays(tmp_path: Path) -> None:
    with server_process(tmp_path, "serve", "--demo-key"):
        again = run_command(tmp_path, "serve", "--demo-key", PORT="0")
        listed = run_command(tmp_path, "keys", "list")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "Another server uses this session store.\n"
    [_, key] = listed.stdout.splitlines()
    assert key.endswith("\t-")


def test_without_a_command_it_serves_and_prints_nothing(tmp_path: Path) -> None:
    with server_process(tmp_path) as server:
        assert server.output == ""
        assert isinstance(server.log, list)


def test_help_lists_commands_and_settings(tmp_path: Path) -> None:
    result = run_command(tmp_path, "--help")
    assert result.returncode == 0
    for word in ("serve", "keys", "spec", "BACKEND_URL", "AGENT", "RATE_LIMIT_RPS"):
        assert word in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("sevre",),
        ("keys", "create", "--project", "demo"),
        ("keys", "create", "--project", "Bad Name", "--role", "edit"),
        ("keys", "create", "--project", "demo", "--role", "owner"),
        ("keys", "create", "--project", "demo", "--role", "edit", "--expires", "soon"),
        ("keys", "revoke"),
    ],
)
def test_a_wrong_command_line_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = run_command(tmp_path, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr


def test_keys_belong_to_the_embedded_backend(tmp_path: Path) -> None:
    result = run_command(tmp_path, "keys", "list", BACKEND_URL="http://127.0.0.1:9")
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
