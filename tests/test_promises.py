"""The statements about the project in its documentation are true."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from app import settings, spec
from app.known_agents import KNOWN_AGENTS
from tests.support.command import CLIENT_VARIABLES

ROOT = Path(__file__).resolve().parents[1]
PROSE = (
    "README.md",
    "ARCHITECTURE.md",
    "DECISIONS.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "BENCHMARKS.md",
)
SOURCES = sorted(path for part in ("app", "handlers") for path in (ROOT / part).rglob("*.py"))
PATH = re.compile(r"(?<![\w./-])(?:app|handlers|openapi|tests)/[\w./*{}-]*[\w/]")


def text(name: str) -> str:
    return (ROOT / name).read_text()


def test_the_settings_of_the_readme_are_those_of_the_server() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.*?) \| (.*) \|$", text("README.md"), re.MULTILINE)
    assert rows == [
        (setting.name, f"`{setting.default}`" if setting.default else "none", setting.description)
        for setting in settings.reference()
    ]


@pytest.mark.parametrize("name", PROSE)
def test_a_variable_in_the_documentation_is_a_setting_or_one_of_make_or_of_the_client(name: str) -> None:
    known = {setting.name for setting in settings.reference()}
    known |= set(re.findall(r"^([A-Z_]+) \?=", text("Makefile"), re.MULTILINE))
    known |= set(CLIENT_VARIABLES)
    known |= {name for agent in KNOWN_AGENTS.values() for name in agent.env}
    lines = "\n".join(commands(text(name)))
    named = re.findall(r"^\$ ([A-Z_]+)=|^make \w+ ([A-Z_]+)=|^([A-Z_]{3,})=? $", lines, re.MULTILINE)
    assert {"".join(found) for found in named} <= known


def test_the_version_is_the_same_everywhere() -> None:
    [newest, *_] = re.findall(r"^## \[(.+?)\] - \d{4}-\d\d-\d\d$", text("CHANGELOG.md"), re.MULTILINE)
    project = tomllib.loads(text("pyproject.toml"))["project"]
    assert newest == project["version"] == spec.load()["info"]["version"]


@pytest.mark.parametrize("name", PROSE)
def test_a_make_target_in_the_documentation_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    lines = re.findall(r"\bmake((?: [a-z-]+)+)(?=[`\n ]| [A-Z])", "\n".join(commands(text(name))))
    assert {target for line in lines for target in line.split()} <= targets


def commands(prose: str) -> list[str]:
    """Return the texts between backticks, and the lines of code blocks without their comments."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", prose, re.DOTALL | re.MULTILINE)
    lines = [line.partition("#")[0] for block in blocks for line in block.splitlines()]
    return [f"{line} " for line in (*re.findall(r"`([^`\n]+)`", prose), *lines)]


def test_every_make_target_is_listed_by_help() -> None:
    [phony] = re.findall(r"^\.PHONY: (.*)$", text("Makefile"), re.MULTILINE)
    assert phony.split() == re.findall(r"^([a-z-]+):.*## ", text("Makefile"), re.MULTILINE)


def test_every_test_target_of_make_runs_before_a_change_is_merged() -> None:
    targets = re.findall(r"^(check|clients|test[a-z-]*):", text("Makefile"), re.MULTILINE)
    assert set(re.findall(r"^make ([a-z-]+)$", text(".ci/run"), re.MULTILINE)) == set(targets)
    assert ".ci/run" in text(".github/workflows/ci.yml")


@pytest.mark.parametrize("name", PROSE)
def test_a_path_in_the_documentation_exists(name: str) -> None:
    for path in PATH.findall(re.sub(r"\S*<\w+>\S*", "", text(name))):
        assert list(ROOT.glob(path.rstrip("/"))), f"{name} names {path}"


def test_every_part_of_the_server_is_in_the_architecture() -> None:
    named = set(PATH.findall(text("ARCHITECTURE.md")))
    parts = [path for path in (ROOT / "app").iterdir() if path.name not in {"__init__.py", "__pycache__", "backends"}]
    parts += [path for path in (ROOT / "app/backends").iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert {f"{path.relative_to(ROOT)}{'/' if path.is_dir() else ''}" for path in parts} <= named


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_file_is_longer_than_400_lines(source: Path) -> None:
    assert len(source.read_text().splitlines()) <= 400


def test_the_decisions_are_listed_newest_first() -> None:
    dates = re.findall(r"^## (\d{4}-\d\d-\d\d): ", text("DECISIONS.md"), re.MULTILINE)
    assert dates
    assert dates == sorted(dates, reverse=True)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="only a checkout has a list of its files")
def test_no_ignored_file_is_committed() -> None:
    """For example a link to another checkout's `.venv`, which would replace that of everybody who pulls it."""
    command = ("git", "-C", str(ROOT), "ls-files", "--cached", "--ignored", "--exclude-standard")
    assert subprocess.check_output(command, text=True) == ""  # noqa: S603 - our own command


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock", "clients/requirements.lock"])
def test_a_lock_file_has_the_hashes_of_each_package(lock: str) -> None:
    packages = re.split(r"\n(?=[a-z0-9])", (ROOT / lock).read_text(encoding="utf-8"))
    assert [package.splitlines()[0] for package in packages if "--hash=sha256:" not in package] == []
