"""The fake platform, compared with recordings of the real one: it gets the same requests and must respond alike."""

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from typing import Any

import pytest
import requests

from tests.support.platform import FakePlatform
from tests.support.platform_backend import Clock
from tests.support.platform_recordings import Json, exports, recording, streamed_sessions
from tests.support.platform_replay import ROLES, Replay, end_as_recorded, happen_to_pods


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with FakePlatform(tokens=dict(ROLES)) as platform:
        yield platform


def respond(platform: FakePlatform, entry: Json) -> tuple[int, Any] | None:
    """Return the status and the error of the fake's response; None if it does not have the endpoint."""
    headers = {} if entry["token"] is None else {"Authorization": f"Bearer {entry['token']}"}
    url = platform.url + entry["path"]
    with requests.request(
        entry["method"], url, json=entry["request"], headers=headers, timeout=10, stream=True
    ) as response:
        if response.status_code in {404, 405} and response.headers["Content-Type"].startswith("text/plain"):
            return None
        is_json = "json" in response.headers.get("Content-Type", "") and response.status_code >= 400
        return response.status_code, response.json().get("error") if is_json else None


def expected(entry: Json) -> tuple[int, Any]:
    body = entry["body"]
    return entry["status"], body.get("error") if isinstance(body, dict) and entry["status"] >= 400 else None


CONNECTED = 100
"""The time in ms at which a live stream has sent the log that it found."""

Effects = dict[int, Callable[[FakePlatform], None]]


def differences(platform: FakePlatform, number: str, effects: Effects, until: int) -> dict[int, tuple[Any, Any]]:
    """Return the recorded and the fake's responses, by time, where they differ; `effects` have theirs, too."""
    for name in {entry["path"].split("/")[5].split("?")[0] for entry in recording(number) if is_session(entry)}:
        platform.add_session("demo", name)
        platform.runner.append(name, {"type": "RAW"})
    clock = platform.clock = Clock()
    found = {}
    for entry in recording(number):
        for time in [time for time in effects if time <= entry["t"]]:
            effects.pop(time)(platform)
        if entry["actor"] in {"client", "poller"} and entry["status"] and entry["t"] < until:
            clock.now = 1000 + entry["t"] / 1000
            response = respond(platform, entry)
            if response not in (None, expected(entry)):
                found[entry["t"]] = expected(entry), response
    return found


def is_session(entry: Json) -> bool:
    """Return whether a session was read and found."""
    path = entry.get("path") or ""
    return entry.get("method") == "GET" and entry["status"] == 200 and path.count("/") == 5 and "?" not in path


def test_errors_by_role(platform: FakePlatform) -> None:
    conflict_with_the_operator, log_of_another_recording, runner_without_a_worker = 21007, 22053, 20839
    found = differences(platform, "14", {}, until=30_000)
    assert found.keys() == {conflict_with_the_operator, log_of_another_recording, runner_without_a_worker}


def test_errors_of_keys_and_roles_that_are_taken_away(platform: FakePlatform) -> None:
    effects: Effects = {
        337: lambda platform: platform.revoked.add("TOKEN-key"),
        37_268: lambda platform: platform.tokens.update({"TOKEN-vera": ROLES["TOKEN-nora"]}),
        71_282: lambda platform: platform.tokens.update({"TOKEN-vera": ROLES["TOKEN-vera"]}),
    }
    assert differences(platform, "14b", effects, until=100_000) == {}


def test_lists_of_sessions(platform: FakePlatform) -> None:
    read = [entry for entry in recording("13") if entry.get("method") == "GET"]
    whole = [entry["body"]["items"] for entry in read if entry["path"].endswith(("?limit=100", "limit=100&offset=100"))]
    [needle] = next(entry["body"]["items"] for entry in read if "search=needle" in entry["path"])
    for item in reversed([item for page in whole for item in page]):
        prompt = "the needle" if item["metadata"]["name"] == needle["metadata"]["name"] else "hay"
        name, title = item["metadata"]["name"], item["spec"]["displayName"]
        made = platform.add_session("demo", name, phase="Stopped", initialPrompt=prompt, displayName=title)
        made["metadata"]["creationTimestamp"] = item["metadata"]["creationTimestamp"]
    for entry in read:
        headers = {"Authorization": f"Bearer {entry['token']}"}
        response = requests.get(platform.url + entry["path"], headers=headers, timeout=10)
        assert (response.status_code, page(response.json())) == (entry["status"], page(entry["body"])), entry["path"]


def page(body: Json) -> Json:
    """Return a page of a list with the times of its sessions alone: those of one second come in any order."""
    return body | {"items": [item["metadata"]["creationTimestamp"] for item in body.get("items", ())]}


def test_writes_that_conflict(platform: FakePlatform) -> None:
    """Of those of a kind that are sent at once some succeed, and the rest fail in the same words."""
    platform.write_seconds = 0.02
    for kind in ("annotations", "display names", "model switches", "stops", "PUTs of timeout"):
        entries = [entry for entry in recording("14c") if entry["actor"] == "note" or entry.get("method") != "GET"]
        begin = next(index for index, entry in enumerate(entries) if kind in entry.get("note", "")) + 1
        burst = list(takewhile(lambda entry: entry["actor"] == "client", entries[begin:]))
        name = burst[0]["path"].split("/")[5]
        platform.add_session("demo", name, phase="Stopped" if kind == "PUTs of timeout" else "Running")
        for label in {entry["path"] for entry in burst}:
            alike = [entry for entry in burst if entry["path"] == label and entry.get("label") != "PUT while running"]
            with ThreadPoolExecutor(len(alike)) as pool:
                answers = set(pool.map(lambda entry: respond(platform, entry), alike))
            assert answers == {expected(entry) for entry in alike}, kind


PHASES = ("01", "05", "09", "09b", "11", "11b", "15", "15b")


@pytest.mark.parametrize("number", PHASES)
def test_phases_follow_one_another_as_recorded(platform: FakePlatform, number: str) -> None:
    platform.runner.pace = "open"
    clock = platform.clock = Clock()
    replay = Replay(platform)
    for entry in recording(number):
        clock.now = 1000 + entry["t"] / 1000
        if number == "11b":
            happen_to_pods(platform, replay.created, entry["t"])
        replay.play(entry)


def test_inputs_of_runs_leave_in_the_log_what_was_recorded(platform: FakePlatform) -> None:
    [session] = streamed_sessions("16")
    platform.add_session("demo", session)
    answers: dict[str, tuple[Json, requests.Response]] = {}
    for entry in recording("16"):
        if entry["actor"] == "client" and entry["path"].endswith("/agui/run"):
            answers[entry.get("label") or "id used again"] = entry, send(platform, entry)
    recorded, log = exports("16", session)[-1][1], [json.loads(line) for line in platform.runner.logs[session] or ()]
    for label, (entry, answer) in answers.items():
        assert answer.status_code == entry["status"], label
        if answer.status_code == 200:
            assert traces(log, answer.json()["runId"]) == traces(recorded, entry["body"]["runId"]), label


@pytest.mark.parametrize("number", ["02", "03", "04", "06", "07", "08", "09", "10", "12", "17"])
def test_runs_leave_in_the_log_what_was_recorded(platform: FakePlatform, number: str) -> None:
    """The runner takes the steps that the live stream shows; what is accepted, starts and is rewritten is its own."""
    session = streamed_sessions(number)[0]
    platform.add_session("demo", session)
    runner, ids = platform.runner, dict[str, str]()
    runner.prompt(session, "hello init")
    runner.pace, runner.obeys, runner.overlaps, runner.retries = "open", False, True, True
    ended, asking = set(), set()
    for entry in recording(number):
        if entry["actor"] == "client" and entry["path"].endswith(f"/{session}/agui/run"):
            ids[entry["body"]["runId"]] = send(platform, entry).json()["runId"]
        elif entry["actor"] == "client" and entry["path"].endswith((f"{session}/stop", f"{session}/start")):
            platform.settle()
            send(platform, entry)
        elif "DELETE" in (entry.get("method"), ""):
            platform.sessions["demo"].pop(session, None)
        elif "killed" in entry.get("note", ""):
            runner.cut_off()
            if "runner" in entry["note"]:
                platform.without_runner.add(session)
        elif entry.get("line", "").startswith("data:"):
            event = json.loads(entry["line"].removeprefix("data:"))
            event["runId"] = event.get("runId") or event.get("run_id")
            platform.settle()
            if event.get("toolCallName") == "AskUserQuestion":
                asking.add(event["runId"])
            if event["type"] in {"RUN_FINISHED", "RUN_ERROR"} and event["runId"] in ids and event["runId"] not in ended:
                ended.add(event["runId"])
                end_as_recorded(platform, session, event, asks=event["runId"] in asking)
    log = [json.loads(line) for line in runner.logs[session] or ()]
    recorded = exports(number, session)[-1][1]
    for recorded_id, run_id in ids.items():
        assert traces(log, run_id) == traces(recorded, recorded_id), recorded_id


def test_events_have_the_members_that_were_recorded(platform: FakePlatform) -> None:
    """As the live stream has them and, before the log is rewritten, as the export has them."""
    platform.add_session("demo", "s1")
    runner, live, stored = platform.runner, list[Json](), list[Json]()

    def listen(line: bytes) -> None:
        live.append(json.loads(line))
        stored.append(json.loads((runner.logs["s1"] or [])[-1]))

    runner.listeners["s1"] = [listen]
    runner.pace = "open"
    endings: list[dict[str, Any]] = [{}, {"is_error": True}, {"asks": True}, {}, {"breaks_with": "reader died"}]
    for ending in endings:
        runner.accept("s1", {"messages": [{"id": "m", "role": "user", "content": "hello"}]}, up=True)
        runner.finish("s1", **ending)
    runner.accept("s1", {"messages": []}, up=True)
    runner.finish("s1")
    runner.accept("s1", {"messages": [], "context": "text"}, up=True)
    entries = [entry for number in ("06", "07", "08") for entry in recording(number)]
    first = [entry for entry in entries if entry.get("stream") == "s1" and entry["t"] > CONNECTED]
    lines = [entry["line"][5:] for entry in first if "data:" in entry.get("line", "")]
    logs = [event for entry in entries for event in (entry.get("body") or {}).get("aguiEvents") or ()]
    assert members_of(live) == members_of([json.loads(line) for line in lines])
    # The end of a question's call was deleted before somebody read the log.
    assert members_of(event for event in stored if event["type"] != "TOOL_CALL_END") <= members_of(logs)


def members_of(events: Iterable[Json]) -> set[tuple[str, ...]]:
    """Return the types of events with the names of their members, and of those of a run's result."""
    results = ((event, event.get("result", {})) for event in events)
    return {
        (event["type"], *sorted(event), *sorted(result if isinstance(result, dict) else ()))
        for event, result in results
    }


def send(platform: FakePlatform, entry: Json) -> requests.Response:
    headers = {"Authorization": f"Bearer {entry['token']}"}
    return requests.post(platform.url + entry["path"], json=entry["request"], headers=headers, timeout=10)


def traces(log: list[Json], run_id: str | None) -> list[str]:
    """Return what lasts of a run: the types of its events, and what went wrong."""
    kept = [
        event for event in log if event.get("runId") == run_id and event["type"] not in {"STATE_SNAPSHOT", "CUSTOM"}
    ]
    errors = [event.get("message") or event.get("result", {}).get("is_error") for event in kept]
    return [f"{event['type']}: {error}" if error else event["type"] for event, error in zip(kept, errors, strict=True)]
