"""The program as a whole: help, version, completion, the document, and command lines that are wrong."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from app import settings, spec
from app.cli.common import program
from tests.support.command import invoke

SERVER = ("serve", "keys", "secrets", "agents", "worker", "workers", "migrate", "spec", "conform")
COMMANDS = (*SERVER, "run", "chat", "tail", "sessions")


def test_help_names_every_command(tmp_path: Path) -> None:
    done = invoke(tmp_path, "--help")

    assert done.exit_code == 0
    assert all(f"\n  {command} " in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("group", [(), ("keys",), ("sessions",)])
def test_help_is_shown_where_no_command_is_given(tmp_path: Path, group: tuple[str, ...]) -> None:
    done = invoke(tmp_path, *group)

    assert (done.exit_code, done.stdout, done.stderr) == (0, invoke(tmp_path, *group, "--help").stdout, "")
    assert list(tmp_path.iterdir()) == []


def test_the_help_of_serve_names_every_setting(tmp_path: Path) -> None:
    text = invoke(tmp_path, "serve", "--help").stdout

    assert all(f"{setting.name}={setting.default}" in text for setting in settings.reference())


@pytest.mark.parametrize(
    "command", [["run"], ["chat"], ["tail"], ["sessions", "create"], ["sessions", "list"], ["sessions", "diff"]]
)
def test_the_help_of_the_client_names_its_variables(tmp_path: Path, command: list[str]) -> None:
    text = invoke(tmp_path, *command, "--help").stdout

    assert all(name in text for name in ("AMBIENT_URL", "AMBIENT_KEY", "AMBIENT_PROJECT"))


def test_the_version_is_that_of_the_document(tmp_path: Path) -> None:
    done = invoke(tmp_path, "--version")

    assert (done.exit_code, done.stdout) == (0, f"ambient-api {spec.load()['info']['version']}\n")


def test_a_shell_completes_commands(tmp_path: Path) -> None:
    line = {"COMP_WORDS": "ambient-api s", "COMP_CWORD": "1", "_AMBIENT_API_COMPLETE": "complete_bash"}

    assert invoke(tmp_path, **line).stdout.split() == ["serve", "spec", "secrets", "sessions"]


class TestSpec:
    def test_the_document_is_printed_in_both_notations(self, tmp_path: Path) -> None:
        printed = {form: invoke(tmp_path, "spec", "--format", form).stdout for form in ("json", "yaml")}

        assert json.loads(printed["json"]) == yaml.safe_load(printed["yaml"]) == spec.published(spec.load())

    def test_yaml_is_printed_where_no_format_is_given(self, tmp_path: Path) -> None:
        assert invoke(tmp_path, "spec").stdout.startswith("openapi: 3.0.3\n")


@pytest.mark.parametrize(
    "arguments", [("sevre",), ("keys", "revoke"), ("spec", "--format", "xml"), ("tail",), ("serve", "now")]
)
def test_a_wrong_command_line_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = invoke(tmp_path, *arguments)

    assert (done.exit_code, done.stdout) == (2, "")
    assert "Error: " in done.stderr


class TestProgram:
    """The beginning of command lines in hints."""

    def test_the_interpreter_is_named_relative_to_the_directory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "argv", ["/some/where/app/__main__.py"])
        monkeypatch.setattr(sys, "executable", str(Path.cwd() / ".venv/bin/python"))

        assert program() == ".venv/bin/python -m app"

    def test_another_directorys_interpreter_is_named_in_full(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "argv", ["/some/where/app/__main__.py"])
        monkeypatch.setattr(sys, "executable", "/some where/bin/python")

        assert program() == "'/some where/bin/python' -m app"

    def test_an_installed_command_is_named_by_its_path_unless_the_shell_finds_it(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        command = tmp_path / "ambient-api"
        command.touch(mode=0o755)
        monkeypatch.setattr(sys, "argv", [str(command)])
        monkeypatch.setenv("PATH", "/nowhere")

        assert program() == str(command)

        monkeypatch.setenv("PATH", str(tmp_path))

        assert program() == "ambient-api"
