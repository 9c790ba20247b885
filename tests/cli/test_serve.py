"""`serve`: what stops a start with one line, and what a start prints. Real servers are started by tests/e2e/."""

import contextlib
import re
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from app.cli import serve
from app.models.caller import Role
from app.observability import logs
from app.store.keys import AccessKeys
from app.store.sqlite.files import StoreLock
from tests.support.command import invoke
from tests.support.platform import FakePlatform
from tests.support.server import create_key, listening
from tests.support.store import sqlite_only


@pytest.fixture(autouse=True)
def _logs_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A started server configures the logs of its whole process, which here is that of all tests."""
    monkeypatch.setattr(logs, "configure", lambda _level: None)


@pytest.fixture
def demo_key_stays(tmp_path: Path) -> Iterator[None]:
    """The key of an earlier start is the same after the test."""
    with AccessKeys.open(f"sqlite:///{tmp_path}/data/ambient.db") as keys:
        key, _ = keys.create(project=serve.DEMO_PROJECT, role=Role.ADMIN, name=serve.DEMO_KEY)
        yield
        assert keys.list() == [key]


def is_refused(done: Result, line: str) -> bool:
    """Whether the command ended with exactly this line."""
    return (done.exit_code, done.stdout, done.stderr) == (1, "", f"{line}\n")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "eighty"),
        ("BACKEND_URL", "postgresql://db.example.com"),
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
    done = invoke(tmp_path, "serve", **{variable: value})

    assert (done.exit_code, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"{variable} must be ")
    assert "hunter2" not in line
    assert not (tmp_path / "data").exists()


def test_the_platform_s_second_generation_is_refused_in_one_line(tmp_path: Path) -> None:
    with FakePlatform() as platform:
        platform.second_generation = True
        done = invoke(tmp_path, "serve", PORT="0", BACKEND_URL=platform.url)

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("BACKEND_URL is the platform's second generation")
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("demo_key_stays")
@pytest.mark.parametrize("options", [(), ("--demo-key",)])
def test_a_port_in_use_is_named_in_one_line_and_no_key_changes(tmp_path: Path, options: tuple[str, ...]) -> None:
    with listening() as listener:
        port = listener.getsockname()[1]
        done = invoke(tmp_path, "serve", *options, PORT=str(port))

    assert is_refused(done, f"PORT {port} on 127.0.0.1 is in use; stop what listens there or set another PORT")


@pytest.mark.usefixtures("demo_key_stays")
def test_a_store_that_another_server_uses_is_one_line_and_no_key_changes(tmp_path: Path) -> None:
    lock = StoreLock(tmp_path / "data" / "ambient.db")
    done = invoke(tmp_path, "serve", "--demo-key", PORT="0")
    lock.release()

    assert is_refused(done, "Another server uses this session store.")


@sqlite_only
@pytest.mark.parametrize("arguments", [("serve",), ("serve", "--demo-key"), ("keys", "list")])
def test_a_store_of_another_version_is_refused_in_one_line_and_left_as_it_is(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    create_key(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "ambient.db")) as store, store:
        store.execute("UPDATE alembic_version SET version_num = '9999'")

    done = invoke(tmp_path, *arguments, PORT="0")

    assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "was written by another version of this server. Start that version, or move" in done.stderr


def test_a_start_that_shall_trace_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    done = invoke(tmp_path, "serve", PORT="0", OTEL_ENABLED="true")

    assert (done.exit_code, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http" in line


class TestFirstSteps:
    def test_every_line_can_be_pasted(self) -> None:
        console, curl, export, chat = serve.first_steps("127.0.0.1", 8081, "ak_x").splitlines()

        assert console == "Console: http://127.0.0.1:8081/#key=ak_x"
        assert curl == 'curl -H "Authorization: Bearer ak_x" http://127.0.0.1:8081/v1/sessions'
        assert export == "export AMBIENT_KEY=ak_x"
        assert chat.endswith(" chat")

    def test_an_address_other_than_the_default_is_exported_too(self) -> None:
        assert "export AMBIENT_URL=http://127.0.0.1:9000 AMBIENT_KEY=ak_x" in serve.first_steps(
            "127.0.0.1", 9000, "ak_x"
        )

    @pytest.mark.parametrize(
        ("host", "url"),
        [
            ("0.0.0.0", "http://127.0.0.1:9000"),  # noqa: S104 - not listened on
            ("::", "http://127.0.0.1:9000"),
            ("::1", "http://[::1]:9000"),
            ("example.com", "http://example.com:9000"),
        ],
    )
    def test_the_address_can_be_reached_from_this_machine(self, host: str, url: str) -> None:
        assert set(re.findall(r"http:[^/]*//[^/ ]*", serve.first_steps(host, 9000, "ak_x"))) == {url}


def test_a_shared_store_needs_a_key_of_secrets_in_the_settings(tmp_path: Path) -> None:
    done = invoke(tmp_path, "serve", BACKEND_URL="postgresql://127.0.0.1:1/ambient", PORT="0", SECRETS_KEY="")
    assert done.exit_code == 2
    assert "SECRETS_KEY must be set if BACKEND_URL is postgresql://" in done.stderr
