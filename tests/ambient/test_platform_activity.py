"""Activity of agents as the fake platform reports it over time, compared with recordings of the real one.

The recorder read a session every 100 ms and noted a response only if it differed from the one before. So the fake's
session is read as often, at the times of the recording: the platform caches an agent's state from one reading on.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

import pytest

from tests.support import platform_operator
from tests.support.platform import FakePlatform
from tests.support.platform_backend import Clock
from tests.support.platform_recordings import Json, recording
from tests.support.platform_replay import ROLES, Replay, end_as_recorded, happen_to_pods

INTERVAL = 100
"""Time in ms between two readings of the recorder."""

CACHED = 5000
"""Time in ms for which the platform caches an agent's state."""

ENDS = ("RUN_FINISHED", "RUN_ERROR")
RECORDINGS = (
    *("01", "02", "03", "04", "05", "06", "07", "08", "09", "09b"),
    *("10", "11", "11b", "12", "14", "14b", "14c", "15", "15b", "17"),
)
"""Those in which sessions were read."""

Activity = tuple[str | None, str | None]
"""The state of an agent, and the time at which its session last showed activity."""


class Reading(NamedTuple):
    """A GET of a session at a time in ms, and the activity that it showed: one of two if a change came just then."""

    time: int
    name: str
    shown: tuple[Activity, ...]


def name_of(entry: Json) -> str | None:
    """Return the name of the session that a request has read, if it is nothing but that."""
    path = (entry.get("path") or "").split("?")[0].split("/")
    return path[5] if entry.get("method") == "GET" and len(path) == 6 and path[4] == "agentic-sessions" else None


def readings(number: str) -> Iterator[Reading]:
    """Yield all readings of the sessions of a recording, those that were not recorded included."""
    found = [(entry, name) for entry in recording(number) if (name := name_of(entry))]
    end = {"t": recording(number)[-1]["t"], "status": 0}, ""
    for (entry, name), (following, other) in pairwise([*found, end]):
        if entry["status"] != 200:
            continue
        shown = activity(entry["body"])
        yield Reading(entry["t"], name, (shown,))
        soon = (shown, activity(following["body"])) if following["status"] == 200 and name == other else ()
        for time in range(entry["t"] + INTERVAL, following["t"], INTERVAL) if entry["actor"] == "poller" else ():
            if time < following["t"] - INTERVAL * 3 // 2:
                yield Reading(time, name, (shown,))
            elif soon:
                yield Reading(time, name, soon)


def activity(resource: Json) -> Activity:
    """Return what a session shows of its agent."""
    status = resource.get("status") or {}
    return status.get("agentStatus"), status.get("lastActivityTime")


class ActivityReplay(Replay):
    """A replay whose runs begin and end when the recorded live streams, or else the sessions' activity, say so."""

    def __init__(self, platform: FakePlatform, number: str, clock: Clock) -> None:
        super().__init__(platform)
        runner = platform.runner
        runner.pace, runner.obeys, runner.retries = "wait", False, True
        self._number = number
        self._clock = clock
        self._readings = sorted(readings(number), key=lambda reading: reading.time)
        self._session_of: dict[str, str] = {}  # by the name of a live stream
        self._begun: set[str] = set()
        self._ended: set[str] = set()
        self._asking: set[str] = set()
        self._posted: set[str] = set()
        self._time = 0
        self._wall_ms = self._wall_of_start()

    def _wall_of_start(self) -> int:
        """Return the time in ms at which the recording began, as its live events tell it; 0 if it has none."""
        lines = [entry for entry in recording(self._number) if entry.get("line", "").startswith("data:")]
        events = [(entry["t"], json.loads(entry["line"][5:])) for entry in lines]
        return max((int(event["timestamp"]) - time for time, event in events if "timestamp" in event), default=0)

    def run(self) -> None:
        """Play the recording, and compare the fake's sessions with each reading."""
        left = self._readings
        for entry in recording(self._number):
            while left and left[0].time < entry["t"]:
                self._compare(left.pop(0))
            if not left:
                break
            self._go_to(entry["t"])
            self._take(entry)
        for reading in left:
            self._compare(reading)

    def _go_to(self, time: int) -> None:
        self._time, self._clock.now = time, 1000 + time / 1000
        if self._number == "11b":
            happen_to_pods(self.platform, self.created, time)

    def _take(self, entry: Json) -> None:
        path = (entry.get("path") or "").split("/")
        if entry["actor"] == "sse" and "path" in entry:
            self._session_of[entry["stream"]] = path[5]
        elif entry.get("line", "").startswith("data:"):
            self._observe(self._session_of[entry["stream"]], json.loads(entry["line"][5:]))
        elif "killed" in entry.get("note", ""):
            self.platform.runner.cut_off()
            if "runner" in entry["note"]:
                self.platform.without_runner |= set(self.names.values())
        elif name := name_of(entry):
            if entry["status"] == 200:
                self._run_unseen(name, entry["body"])
                self.play(entry)
        else:
            if entry.get("method") == "POST" and path[6:] == ["agui", "run"] and entry["status"] == 200:
                self._posted.add(entry["body"]["runId"])
            self.play(entry)

    def _observe(self, name: str, event: Json) -> None:
        """Let the fake's runner take the step that an event of the live stream shows, if it has not yet."""
        run_id = event.get("runId") or event.get("run_id") or ""
        session = self.names.get(name)
        if session is None or (session not in self.created and run_id not in self._posted):
            return
        if event.get("toolCallName") == "AskUserQuestion":
            self._asking.add(run_id)
        if event["type"] == "RUN_STARTED" and run_id not in self._begun:
            self._begun.add(run_id)
            self.platform.runner.overlaps = self.platform.runner.is_at_work(session)
            self.platform.runner.begin(session)
        elif event["type"] in ENDS and run_id not in self._ended:
            self._ended.add(run_id)
            end_as_recorded(self.platform, session, event, asks=run_id in self._asking)

    def _run_unseen(self, name: str, body: Json) -> None:
        """Let a session whose live stream nobody has read do all that waits once it shows new activity."""
        session, (_, active_at) = self.names.get(name), activity(body)
        if (
            name in self._session_of.values()
            or session is None
            or active_at in (None, activity(self.resource(name))[1])
        ):
            return
        self._wall_ms = int(datetime.fromisoformat(active_at).timestamp() * 1000) - self._time
        self.platform.runner.begin(session)
        while self.platform.runner.is_at_work(session):
            self.platform.runner.finish(session)

    def find(self, name: str, body: Json) -> None:
        """Add a session that was read when its log was empty, five seconds before that was read again."""
        state, own = activity(body)[0], [reading for reading in self._readings if reading.name == name]
        changed = next((each.time for each in own if each.shown[0][0] != state), own[0].time + CACHED)
        super().find(name, body)
        if state is None:
            log, now = self.platform.runner.logs.pop(name), self._clock.now
            self._clock.now += (changed - CACHED - self._time) / 1000 - 0.02
            self.platform.as_read(self.resource(name))
            self.platform.runner.logs[name], self._clock.now = log, now
        self.platform.runner.begin(name)
        self.platform.runner.finish(name)
        self.resource(name)["status"]["lastActivityTime"] = activity(body)[1]

    def _compare(self, reading: Reading) -> None:
        self._go_to(reading.time)
        found = self.platform.as_read(self.resource(reading.name))
        assert activity(found) in reading.shown, (reading.name, reading.time)

    def now(self) -> str:
        """Return the time of the recording as Kubernetes writes it."""
        at = datetime.fromtimestamp((self._wall_ms + self._time) / 1000, UTC)
        return at.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("number", RECORDINGS)
def test_activity_changes_as_recorded(number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakePlatform(tokens=dict(ROLES)) as platform:
        clock = platform.clock = Clock()
        replay = ActivityReplay(platform, number, clock)
        monkeypatch.setattr(platform_operator, "now", replay.now)
        replay.run()
