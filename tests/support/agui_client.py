"""The official AG-UI client, a process of its own that tests drive line by line."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from tests.support.api import Api
from tests.support.server import ROOT

DIRECTORY = ROOT / "tests" / "e2e" / "agui_client"
Event = dict[str, Any]


class AguiClient:
    """One client of one session, with a thread id of its own."""

    def __init__(self, api: Api, session_id: str) -> None:
        self.thread_id = str(uuid4())
        self.warnings: list[str] = []
        node = shutil.which("node", path=Path(sys.executable).parent) or "node"
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            [node, "drive.mjs"], cwd=DIRECTORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        headers = {"Authorization": f"Bearer {api.token}", "X-Ambient-Project": api.project}
        url = f"{api.url}/v1/sessions/{session_id}/agui"
        self._tell({"connect": {"url": url, "headers": headers, "threadId": self.thread_id}})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def begin(self, *messages: dict[str, Any], leave: str | None = None, **options: Any) -> None:
        """Begin a run with more messages; leave the stream at the first event of the type `leave`."""
        self._tell({"messages": messages, "options": options, "leave": leave})

    def say(self, text: str, **options: Any) -> "Turn":
        """A whole run with one more user message."""
        self.begin(user(text), **options)
        return self.rest()

    def until(self, type_: str) -> list[Event]:
        """The events of the run up to the first one of that type."""
        events: list[Event] = []
        while not events or events[-1]["type"] != type_:
            events.append(next(self._lines())["event"])
        return events

    def rest(self) -> "Turn":
        """Return the remaining events of the run."""
        events: list[Event] = []
        for line in self._lines():
            if "event" not in line:
                return Turn(events, line)
            events.append(line["event"])
        raise AssertionError("the client ended")

    def _tell(self, line: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()

    def _lines(self) -> Iterator[dict[str, Any]]:
        assert self._process.stdout
        for text in iter(self._process.stdout.readline, ""):
            line = json.loads(text)
            if "warning" in line:
                self.warnings.append(line["warning"])
            else:
                yield line


class Turn:
    """One run as the client saw it: its events, then the whole conversation or what failed."""

    def __init__(self, events: list[Event], result: dict[str, Any]) -> None:
        self.events = events
        self.types = [event["type"] for event in events]
        self.failure: str | None = result.get("failure")
        self.status: int | None = result.get("status")
        self.messages: list[dict[str, Any]] = result.get("messages", [])

    def text(self) -> str:
        """All that was said in the run."""
        return "".join(event["delta"] for event in self.events if event["type"] == "TEXT_MESSAGE_CONTENT")


def user(text: str) -> dict[str, Any]:
    """A user's message as a client makes it."""
    return {"id": str(uuid4()), "role": "user", "content": text}


@contextmanager
def agui_client(api: Api, session_id: str) -> Iterator[AguiClient]:
    """A client that had nothing to complain of."""
    with AguiClient(api, session_id) as client:
        yield client
        # What is besides the protocol is passed on, such as the times of messages; it costs a warning.
        extra = ("/messages/", "'/result' on TOOL_CALL_END")
        assert not [warning for warning in client.warnings if not any(one in warning for one in extra)]
