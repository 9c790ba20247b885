"""The examples of the README work as they are written, but for the port."""

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Api, served_contract
from tests.support.server import ROOT, Background, ServerProcess, create_key, run_command, server_process, serving

README = (ROOT / "README.md").read_text()


def block(language: str, words: str) -> str:
    """Return the README's only block of that language with these words in it."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    [text] = [block for block in blocks if words in block]
    return str(text)


def execute(server: ServerProcess, key: str, *command: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command as somebody who uses a server with this key."""
    return subprocess.run(  # noqa: S603 - our own README
        command,
        check=False,
        cwd=cwd,
        env={**server.environment, "AMBIENT_URL": server.url, "AMBIENT_KEY": key},
        capture_output=True,
        text=True,
        timeout=60,
    )


def paste(server: ServerProcess, key: str, text: str, cwd: Path) -> str:
    """Return what bash prints for a block of the README in which the port is that of a server."""
    script = text.replace("http://127.0.0.1:8081", server.url)
    done = execute(server, key, "bash", "-O", "expand_aliases", "-euo", "pipefail", "-c", script, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_notes(stderr: str) -> str:
    """Return standard error without the line in which `keys create` names the store."""
    return re.sub(r"^Created key-\S+ in .*\n", "", stderr, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home directory of the server and of those who use it."""
    home = tmp_path_factory.mktemp("home")
    (home / "src").mkdir()
    (home / ".gitconfig").write_text("[user]\nname = Ada\nemail = ada@example.com\n")
    return home


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[ServerProcess]:
    with server_process(home, LOCAL_ROOTS=f"demo={home}/src") as server:
        yield server


@pytest.fixture(scope="module")
def key(home: Path) -> str:
    return create_key(home)


def test_the_first_task_in_the_readme_works_when_it_is_pasted(server: ServerProcess, key: str, home: Path) -> None:
    text = paste(server, key, block("sh", "ambient-api run"), cwd=ROOT)
    assert text.startswith("Changed README.md.\ndiff --git a/README.md b/README.md\n")
    changes, _ = json.JSONDecoder().raw_decode(text[text.index('{"') :])
    assert [(changed["path"], changed["additions"]) for changed in changes["files"]] == [("README.md", 1)]
    assert (home / "src/shop/README.md").read_text() == "A shop\nClosed on Sundays\n"
    assert [line.partition(" ")[2] for line in text.splitlines()[-2:]] == [
        "append README.md Closed on Sundays",
        "Open the shop",
    ]


@pytest.mark.parametrize(
    ("task", "ends"),
    [
        ("what did I say?", (0, "This is your first message.\n")),
        ("fail", (1, "error: The demo agent failed, as requested.\n")),
    ],
)
def test_the_script_for_ci_in_the_readme_fails_when_the_task_fails(
    task: str, ends: tuple[int, str], server: ServerProcess, key: str, tmp_path: Path
) -> None:
    (tmp_path / "ci.py").write_text(block("python", "import os, sys, requests"))
    done = execute(server, key, sys.executable, "ci.py", task, cwd=tmp_path)
    status, output = ends
    assert (done.returncode, (done.stdout + done.stderr).endswith(output)) == (status, True), done.stderr


def test_the_session_in_the_readme_works_when_it_is_pasted(server: ServerProcess, key: str, home: Path) -> None:
    text = paste(server, key, block("sh", "/message"), cwd=home)
    stream, _, rest = text.rpartition("\n\n")
    events = [json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line.startswith("data: ")]
    run, transcript, session = decoded(rest)
    assert [events[0]["type"], events[-1]["type"]] == ["RUN_STARTED", "RUN_FINISHED"]
    assert (run["run_id"], run["status"]) == (events[0]["runId"], "completed")
    assert [message["content"] for message in transcript["messages"] if message["role"] == "user"] == [
        "list the files",
        "slow 10",
    ]
    assert session["status"] in {"stopping", "stopped"}


def decoded(text: str) -> Iterator[Any]:
    """Yield the JSON values of a text, one after another."""
    while text.strip():
        value, end = json.JSONDecoder().raw_decode(text.lstrip())
        yield value
        text = text.lstrip()[end:]


def test_the_agent_in_the_readme_works(tmp_path: Path, loop: Background) -> None:
    (tmp_path / "agent.py").write_text(block("python", "pydantic_ai"))
    agent = runpy.run_path(str(tmp_path / "agent.py"))["app"]
    with serving(agent, loop) as url, server_process(tmp_path, AGENT=f"agui+{url}/") as server:
        key = create_key(tmp_path)
        with Api(server.url, served_contract(server.url), token=key) as api:
            session = api.create_session(task="Hello").ok()["id"]
            api.wait_for_status(session, "running")
            assert api.say(session, "Again")["status"] == "completed"
            messages = api.output(session).ok()["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant"]


@pytest.mark.parametrize("command", re.findall(r"^\$ ambient-api (keys [^)\n]*)$", README, re.MULTILINE))
def test_a_command_in_the_readme_is_known(tmp_path: Path, command: str) -> None:
    create_key(tmp_path)
    done = run_command(tmp_path, *command.replace("ID", "--help").split())
    assert (done.returncode, without_notes(done.stderr)) == (0, "")
