"""The examples of the README work as they are written, but for the port."""

import json
import re
import runpy
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Api, served_contract
from tests.support.server import ROOT, Background, create_key, run_command, server_process, serving

README = (ROOT / "README.md").read_text()


def block(language: str) -> str:
    """Return the README's only block of that language."""
    [text] = re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return str(text)


def without_notes(stderr: str) -> str:
    """Return standard error without the line in which `keys create` names the store."""
    return re.sub(r"^Created key-\S+ in .*\n", "", stderr, flags=re.MULTILINE)


def test_the_session_in_the_readme_works_when_it_is_pasted(tmp_path: Path) -> None:
    with server_process(tmp_path) as server:
        done = subprocess.run(  # noqa: S603 - our own README
            ["bash", "-euo", "pipefail", "-c", block("sh").replace("http://127.0.0.1:8081", server.url)],  # noqa: S607 - wherever it is
            check=False,
            cwd=tmp_path,
            env={**server.environment, "AMBIENT_KEY": create_key(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (0, "")
    stream, _, rest = done.stdout.rpartition("\n\n")
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
    (tmp_path / "agent.py").write_text(block("python"))
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
