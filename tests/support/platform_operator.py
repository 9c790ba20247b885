"""The operator of the fake platform: brings sessions from phase to phase, as the real one does in its own time.

    none ─▶ Pending ─▶ Creating ─▶ Running ─▶ Stopping ─▶ Stopped ─▶ Pending

The desired phase is an annotation. The operator deletes it, whatever it says, when it makes a pod, so that a stop of a
pending session is lost. One that comes later takes effect once the session runs. A start of a session that is on its
way leaves the annotation behind.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.support.platform_runner import Runner

Json = dict[str, Any]
PREFIX = "ambient-code.io/"
DESIRED = f"{PREFIX}desired-phase"
STOP_REASON = f"{PREFIX}stop-reason"
ACTIVITY_SECONDS = 10.0
READY = {"type": "Ready", "status": "True", "reason": "Running", "message": "Running"}


class Operator:
    """The operator and what the backend notes of a session's activity.

    `unschedulable` names sessions whose pod cannot be scheduled, `unpullable` those whose image cannot be pulled,
    `without_runner` those whose runner has died, which nobody notices. `rules` has what a session's create said of
    stopping by itself.
    """

    def __init__(self, runner: Runner, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.unschedulable: set[str] = set()
        self.unpullable: set[str] = set()
        self.without_runner: set[str] = set()
        self.rules: dict[str, Json] = {}
        self._runner = runner
        self._noted_at: dict[str, float] = {}
        self._untidy: set[str] = set()

    def settle(self, name: str, resource: Json) -> None:
        """Take all steps that a session's desired phase asks for."""
        while self.step(name, resource):
            pass

    def step(self, name: str, resource: Json) -> bool:
        """Take the next step and return whether there was one."""
        annotations = resource["metadata"]["annotations"]
        status = resource.setdefault("status", {})
        phase, desired = status.get("phase"), annotations.get(DESIRED)
        if phase == "Running" and desired != "Stopped" and self._is_inactive(name):
            annotations |= {DESIRED: "Stopped", STOP_REASON: "inactivity"}
            return True
        match phase:
            case None:
                status |= {"phase": "Pending", "startTime": now()}
            case "Pending":
                annotations.pop(DESIRED, None)
                status["phase"] = "Creating"
            case "Creating" if name in self.unpullable:
                status |= {"phase": "Failed", "completionTime": now()}
            case "Creating" if name not in self.unschedulable:
                self._run(name, resource)
            case "Running" if desired == "Stopped":
                status["phase"] = "Stopping"
            case "Stopping":
                self._end(name, status, annotations)
            case "Stopped" if name in self._untidy:
                self._untidy.discard(name)
                for annotation in (DESIRED, STOP_REASON, f"{PREFIX}stop-requested-at"):
                    annotations.pop(annotation, None)
            case "Stopped" | "Completed" | "Failed" if desired == "Running":
                for member in ("completionTime", "stoppedReason", "lastActivityTime", "conditions"):
                    status.pop(member, None)
                status |= {"phase": "Pending", "startTime": now()}
            case _:
                return False
        return True

    def note_event(self, name: str, kind: str, resource: Json) -> None:
        """Note an event of a session: its activity at most every ten seconds, the end of a run for its rule."""
        status = resource.setdefault("status", {})
        if kind == "RUN_STARTED" or self.clock() >= self._noted_at.get(name, 0.0) + ACTIVITY_SECONDS:
            self._noted_at[name] = self.clock()
            if status.get("phase") in {"Running", "Stopping"}:
                status["lastActivityTime"] = now()
        if kind == "RUN_FINISHED" and self.rules.get(name, {}).get("stopOnRunFinished"):
            resource["metadata"]["annotations"] |= {DESIRED: "Stopped", STOP_REASON: "run-finished"}

    def _run(self, name: str, resource: Json) -> None:
        first = name not in self._runner.logs
        resource["status"] |= {"phase": "Running", "conditions": [READY]}
        self._noted_at[name] = self.clock()
        self.without_runner.discard(name)
        if first and (prompt := resource["spec"].get("initialPrompt")):
            self._runner.prompt(name, prompt)
        self._runner.come_up(name)

    def _end(self, name: str, status: Json, annotations: Json) -> None:
        reason = "inactivity" if annotations.get(STOP_REASON) == "inactivity" else "user"
        status |= {"phase": "Stopped", "completionTime": now(), "stoppedReason": reason}
        self._untidy.add(name)
        self._runner.kill(name)

    def _is_inactive(self, name: str) -> bool:
        limit = self.rules.get(name, {}).get("inactivityTimeout")
        return limit is not None and self.clock() >= self._noted_at.get(name, self.clock()) + limit


def now() -> str:
    """Return the time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
