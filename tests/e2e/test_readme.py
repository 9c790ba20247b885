"""What the README shows works as it stands, but for the port and the interpreter."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.api import Api, served_contract
from tests.support.server import ROOT, Background, create_key, run_command, server_process, serving

README = (ROOT / "README.md").read_text()


def block(language: str) -> str:
    """The only block of that language."""
    [text] = re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return str(text)


def without_notes(stderr: str) -> str:
    """Return what is on standard error besides the store that `keys create` names there."""
    return re.sub(r"^Created key-\S+ in .*\n", "", stderr, flags=re.MULTILINE)


def test_the_session_in_the_readme_works_when_it_is_pasted(tmp_path: Path) -> None:
    with server_process(tmp_path) as server:
        script = block("sh").replace("http://127.0.0.1:8081", server.url).replace(".venv/bin/python", sys.executable)
        done = subprocess.run(  # noqa: S603 - our own README
            ["bash", "-euo", "pipefail", "-c", script],  # noqa: S607 - wherever it is
            check=False,
            cwd=ROOT,
            env=server.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (done.returncode, without_notes(done.stderr)) == (0, "")
    answers = [json.loads(line) for line in done.stdout.splitlines() if line]
    session, run, interruption, runs, transcript, compact, stopped = answers
    assert (session["status"], run["status"]) == ("running", "running")
    assert interruption["interrupted"] is True
    assert [run["status"] for run in runs["runs"]] == ["completed", "interrupted"]
    assert transcript["messages"][0]["content"] == "List the files"
    assert compact["events"][-1]["type"] == "RUN_FINISHED"
    assert stopped["status"] in {"stopping", "stopped"}


def test_the_agent_in_the_readme_answers_when_it_is_plugged_in(tmp_path: Path, loop: Background) -> None:
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


@pytest.mark.parametrize("command", re.findall(r"^\$ .*python -m app (keys [^)\n]*)", README, re.MULTILINE))
def test_a_command_in_the_readme_is_known(tmp_path: Path, command: str) -> None:
    create_key(tmp_path)
    done = run_command(tmp_path, *command.replace("ID", "--help").split())
    assert (done.returncode, without_notes(done.stderr)) == (0, "")
