"""Agents as processes of their own: an AG-UI server that tests start, and the AGENT settings of ACP agents."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
START_SECONDS = 60


def scripted_acp(*flags: str) -> str:
    """Return the AGENT setting of `acp_agent.py`, isolated from site-packages, which would take a second to import."""
    return _acp("-I", "-S", str(HERE / "acp_agent.py"), *flags)


def sdk_acp() -> str:
    """Return the AGENT setting of `acp_sdk_agent.py`."""
    return _acp(str(HERE / "acp_sdk_agent.py"))


def _acp(*arguments: str) -> str:
    return "acp:" + shlex.join([sys.executable, *arguments])


@contextmanager
def agent_server(app: str, log: Path) -> Iterator[str]:
    """Serve an ASGI app (`module:name`) on a free port; yield its base URL, end its process group after."""
    command = [sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", "0", "--no-use-colors"]
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield _wait(process, log)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen[bytes], log: Path) -> str:
    """The port is the system's choice: the server names it once it listens."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"running on (http://127\.0\.0\.1:\d+)", log.read_text()):
            requests.get(f"{found[1]}/health", timeout=10).raise_for_status()
            return found[1]
        time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} did not start:\n{log.read_text()}")
