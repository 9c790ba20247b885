"""Sessions as the platform sends them, of the shape and size with which the Go gateway was measured."""

import json
from typing import Any

PHASES = ("Running", "Stopped", "Completed", "Failed", "Pending")
RUN = "11111111-2222-4333-8444-555555555555"


def resource(name: str, phase: str = "Running", number: int = 1) -> dict[str, Any]:
    """Return an AgenticSession."""
    created = "2026-01-01T00:00:00Z"
    repos = [("https://github.com/acme/api.git", "main"), ("https://github.com/acme/web.git", "dev")]
    condition = {"type": "Ready", "status": "True", "reason": "PodRunning", "message": "runner is ready"}
    return {
        "apiVersion": "vteam.ambient-code/v1alpha1",
        "kind": "AgenticSession",
        "metadata": {
            "name": name,
            "namespace": "p1",
            "uid": f"00000000-0000-4000-8000-{number:012}",
            "creationTimestamp": created,
            "generation": 3,
            "labels": {"app": "ambient"},
            "annotations": {"ambient-code.io/start-requested-at": created},
        },
        "spec": {
            "initialPrompt": "Fix the flaky test in tests/test_api.py and open a pull request with an explanation of "
            f"the root cause, session {number}",
            "displayName": f"Fix flaky test {number}",
            "model": "claude-sonnet-4-5",
            "llmSettings": {"model": "claude-sonnet-4-5", "temperature": 0.7, "maxTokens": 4000},
            "timeout": 300,
            "project": "p1",
            "repos": [{"url": url, "branch": at, "input": {"url": url, "branch": at}} for url, at in repos],
            "environmentVariables": {"LOG_LEVEL": "info"},
        },
        "status": {
            "observedGeneration": 3,
            "phase": phase,
            "startTime": created,
            "sdkSessionId": f"sdk-{number}",
            "sdkRestartCount": 0,
            "conditions": [condition | {"lastTransitionTime": created, "observedGeneration": 3}],
        },
        "autoBranch": f"ambient/{name}",
    }


def page(hundred: int = 0) -> dict[str, Any]:
    """Return the page number `hundred` of a hundred sessions, about 127 kB, which claims to be the only page."""
    numbers = range(100 * hundred, 100 * hundred + 100)
    items = [resource(f"s{number}", PHASES[number % len(PHASES)], number) for number in numbers]
    return {"items": items, "totalCount": 100, "limit": 100, "offset": 0, "hasMore": False}


def accepted() -> dict[str, str]:
    """Return the response to a run."""
    return {"runId": RUN, "threadId": "s1"}


def encoded(value: Any) -> bytes:
    """Return JSON as the platform writes it."""
    return json.dumps(value, separators=(",", ":")).encode()
