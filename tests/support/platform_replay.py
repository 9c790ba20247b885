"""Replay of a recording of the real platform: the fake one gets the same requests, and takes the steps that it shows.

A `Replay` compares the phases that sessions show as they are read. Runs go as far as the runner's `pace` lets them.
"""

from collections.abc import Callable
from typing import Any

import requests

from tests.support.platform import FakePlatform
from tests.support.platform_operator import PREFIX
from tests.support.platform_recordings import Json

ROLES = {
    "TOKEN-alice": ("demo", "admin"),
    "TOKEN-ed": ("demo", "edit"),
    "TOKEN-vera": ("demo", "view"),
    "TOKEN-key": ("demo", "edit"),
    "TOKEN-otto": ("other", "admin"),
    "TOKEN-nora": ("elsewhere", "view"),
    "TOKEN-admin": ("demo", "admin"),
}
"""The project and the role of each token of the recordings."""

CHANGES = ("stop", "start", "agui/run", "agui/interrupt")
NOTED = ("desired-phase", "stop-reason", "start-requested-at", "stop-requested-at")
Shown = tuple[Any, ...]


def shown(resource: Json) -> Shown:
    """Return what a session shows of its phase and of what it is to become."""
    status, annotations = resource.get("status") or {}, resource["metadata"].get("annotations") or {}
    noted = [annotations.get(f"{PREFIX}{name}") for name in NOTED]
    times = ["startTime" in status, "completionTime" in status]
    return (status.get("phase"), *noted[:2], *map(bool, noted[2:]), *times, status.get("stoppedReason"))


class Replay:
    """The requests of a recording, sent to the fake, whose operator takes only the steps that the recording shows."""

    def __init__(self, platform: FakePlatform) -> None:
        self.platform = platform
        self.names: dict[str, str] = {}
        self.created: list[str] = []

    def play(self, entry: Json) -> None:
        """Send a request of the recording, and compare what its response shows of a session's phase."""
        path = (entry.get("path") or "").split("/")
        if entry["actor"] not in {"client", "poller"} or "agentic-sessions" not in path or not entry["status"]:
            return
        name, rest, body = path[5].split("?")[0] if len(path) > 5 else "", "/".join(path[6:]), entry["body"]
        if entry["method"] == "POST" and not name and entry["status"] == 201:
            self.names[body["name"]] = self._send(entry, "").json()["name"]
            self.created.append(self.names[body["name"]])
        elif entry["method"] == "POST" and rest in CHANGES and name in self.names:
            if "metadata" in body:
                self._reach(name, lambda found: found[0] == body["status"]["phase"])
            answer = self._send(entry, f"/{self.names[name]}/{rest}")
            if "metadata" in body:
                assert shown(answer.json()) == shown(body), entry["t"]
        elif entry["method"] == "GET" and name and not rest and entry["status"] == 200:
            if name not in self.names:
                self.find(name, body)
            if shown(body)[2] == "run-finished":
                self.platform.runner.finish(self.names[name])
            self._reach(name, lambda found: found == shown(body))
            assert shown(self.resource(name)) == shown(body), entry["t"]

    def find(self, name: str, body: Json) -> None:
        """Add a session that was there before the recording began and has run its first task."""
        self.names[name] = name
        status = {key: value for key, value in body["status"].items() if key != "agentStatus"}
        resource = self.platform.add_session("demo", name, status=status)
        resource["metadata"]["annotations"] = dict(body["metadata"].get("annotations") or {})
        self.platform.runner.prompt(name, "hello init")

    def resource(self, name: str) -> Json:
        """Return the fake's session for one of the recording."""
        return self.platform.sessions["demo"][self.names[name]]

    def _reach(self, name: str, holds: Callable[[Shown], bool]) -> None:
        while not holds(shown(self.resource(name))) and self.platform.operator.step(
            self.names[name], self.resource(name)
        ):
            pass

    def _send(self, entry: Json, path: str) -> requests.Response:
        url = f"{self.platform.url}/api/projects/demo/agentic-sessions{path}"
        headers = {"Authorization": f"Bearer {entry['token']}"}
        return requests.post(url, json=entry["request"], headers=headers, timeout=10)


def happen_to_pods(platform: FakePlatform, created: list[str], time: int) -> None:
    """Let happen what was done to the pods of the third and the fourth session of the recording 11b."""
    if len(created) == 3:
        (platform.operator.unschedulable.add if time < 29_720 else platform.operator.unschedulable.discard)(created[2])
    elif len(created) == 4:
        (platform.operator.unpullable.add if time < 40_000 else platform.operator.unpullable.discard)(created[3])


def end_as_recorded(platform: FakePlatform, session: str, last: Json, *, asks: bool) -> None:
    """End the open run, or give up the one that has not reached the runner, as its last event says."""
    if last["type"] == "RUN_FINISHED":
        platform.runner.finish(session, is_error=last.get("result", {}).get("is_error", False), asks=asks)
    elif "timestamp" in last:
        platform.runner.finish(session, breaks_with=last["message"])
    else:
        platform.runner.give_up(session)
