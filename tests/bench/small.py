"""Small requests: how many per second on one core, compared with peers that do the same."""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import requests

from tests.bench import gateway, stub, subjects
from tests.bench.load import Load, wrk
from tests.bench.machine import calibration_ms, cores, cpu_seconds
from tests.bench.result import Row, Target, medians
from tests.bench.subjects import OURS, PEERS, QUIET, Subject
from tests.support.deadline import eventually

TITLE = "Small requests"
COLUMNS = ("requests/s", "p50 ms", "p99 ms", "CPU µs/request", "calibration ms", "vs Go", "vs Go, strict", "vs FastAPI")
CONNECTIONS = 32
ROUNDS = 3
SECONDS = 2
SLOW = "slow 3000"  # keeps the demo agent busy for five minutes, so that messages are accepted and queued
SESSIONS = 100
GET, LIST, POST = "GET session", "list of 100", "POST message"
CHANGED = f"{LIST}, all changed"  # since they were last listed
PLACES = STORE, PLATFORM, LOGGED, NO_BACKEND = "store", "platform", "platform, requests logged", "no backend"


class Case(NamedTuple):
    """A request; `path` takes a session's id. In each of `places` it is sent to all subjects, or to the `first` few."""

    name: str
    path: str
    body: str | None = None
    connections: int = CONNECTIONS
    places: Collection[str] = PLACES
    first: int | None = None


class Place(NamedTuple):
    """Subjects that do the same work and are compared with each other."""

    name: str
    subjects: Sequence[Subject]


MESSAGE = '{"content":"Now add a test for the empty basket."}'
CASES = (
    Case(GET, "/v1/sessions/{}"),
    Case(f"{GET}, 1 connection", "/v1/sessions/{}", connections=1, places=(STORE, PLATFORM), first=2),
    Case(LIST, "/v1/sessions?limit=100"),
    Case(CHANGED, "/v1/sessions?limit=100&offset=100", places=(PLATFORM, LOGGED), first=2),
    Case(POST, "/v1/sessions/{}/message", MESSAGE),
    Case(f"{POST}, 64 connections", "/v1/sessions/{}/message", MESSAGE, connections=64, places=(STORE,)),
)

Loader = Callable[..., Load]
Found = dict[tuple[str, str], dict[str, float]]
"""Figures by place and subject."""


def rows() -> Iterator[Row | Target]:
    """Yield a row for each subject in each case."""
    with ExitStack() as stack:
        platform = stack.enter_context(subjects.platform())
        places = _places(stack, platform)
        for case in CASES:
            yield Row(case.name, platform.name, _direct(case, platform))
            found = measured(case, places)
            for (place, name), figures in found.items():
                yield Row(case.name, f"{place}: {name}", figures)
            yield from _judge(case, found)


def measured(case: Case, places: Sequence[Place], load: Loader = wrk) -> Found:
    """Return the medians of several rounds, in each of which the subjects take turns."""
    figures = defaultdict(list)
    for _ in range(ROUNDS):
        for key, found in _round(case, places, load).items():
            figures[key].append(found)
    return {key: medians(found) for key, found in figures.items()}


def _round(case: Case, places: Sequence[Place], load: Loader) -> Found:
    """Measure each subject once, and compare it with the others of the same round."""
    found: Found = {}
    for place in places:
        for subject in place.subjects[: case.first] if place.name in case.places else ():
            with path_of(case, place.name, subject) as path:
                found[place.name, subject.name] = _measure(subject, path, case, load)
    for (place_name, _), figures in found.items():
        if fastapi := found.get((place_name, PEERS["fastapi"])):
            figures["vs FastAPI"] = figures["requests/s"] / fastapi["requests/s"]
        if place_name in (PLATFORM, LOGGED):
            quiet, busy = gateway.RATES[case.name].scaled(figures["calibration ms"])
            figures["vs Go"], figures["vs Go, strict"] = figures["requests/s"] / quiet, figures["requests/s"] / busy
    return found


def _places(stack: ExitStack, platform: Subject) -> list[Place]:
    def directory() -> Path:
        return Path(stack.enter_context(tempfile.TemporaryDirectory()))

    store = stack.enter_context(subjects.embedded(directory(), **QUIET))
    _fill(store)
    ours = stack.enter_context(subjects.ambient(directory(), platform, **QUIET))
    logged = stack.enter_context(subjects.ambient(directory(), platform))
    with_platform = [stack.enter_context(subjects.peer(kind, platform)) for kind in PEERS if kind != "canned"]
    without = [stack.enter_context(subjects.peer(kind)) for kind in PEERS]
    return [
        Place(STORE, [store]),
        Place(PLATFORM, [ours, *with_platform]),
        Place(LOGGED, [logged]),
        Place(NO_BACKEND, without),
    ]


def _fill(store: Subject) -> None:
    sessions = [store.create("hello") for _ in range(SESSIONS)]
    for session in sessions:
        eventually(lambda: store.runs(session), lambda statuses: statuses == ["completed"])  # noqa: B023 - called at once


@contextmanager
def path_of(case: Case, place: str, subject: Subject) -> Iterator[str]:
    """Yield the path of a case, with a suitable session that exists during the block."""
    if place != STORE or case.name == LIST:
        yield case.path.format("s1")
        return
    session = subject.create(SLOW if case.body else "hello")
    eventually(lambda: subject.runs(session), lambda statuses: statuses == ["running" if case.body else "completed"])
    yield case.path.format(session)
    subject.delete(session)


def _measure(subject: Subject, path: str, case: Case, load: Loader) -> dict[str, float]:
    response = requests.request(
        "POST" if case.body else "GET",
        f"{subject.url}{path}",
        headers={**subject.headers, **({"Content-Type": "application/json"} if case.body else {})},
        data=case.body,
        timeout=10,
    )
    response.raise_for_status()
    calibration = calibration_ms(cores().server)
    before = cpu_seconds(subject.pid)
    result = load(
        f"{subject.url}{path}", subject.headers, connections=case.connections, seconds=SECONDS, body=case.body
    )
    used = cpu_seconds(subject.pid) - before
    calibration = (calibration + calibration_ms(cores().server)) / 2
    return {
        "requests/s": result.rate,
        "p50 ms": result.p50_ms,
        "p99 ms": result.p99_ms,
        "CPU µs/request": 1e6 * used / result.requests,
        "calibration ms": calibration,
    }


def _direct(case: Case, platform: Subject) -> dict[str, float]:
    root = f"/api/projects/{stub.PROJECT}/agentic-sessions"
    path = case.path.format("s1").replace("/v1/sessions", root).replace("/message", "/agui/run")
    return _measure(platform, path, case, wrk)


_TARGETS_OF_GO = {GET: 1.2, LIST: 6.0, CHANGED: 6.0, POST: 1.1}
_TARGETS_OF_STORE = {GET: 4000, f"{POST}, 64 connections": 1500}


def _judge(case: Case, found: Found) -> Iterator[Target]:
    if case.name in _TARGETS_OF_GO:
        minimum = _TARGETS_OF_GO[case.name]
        yield Target(case.name, "vs Go, requests logged", found[LOGGED, OURS]["vs Go"], at_least=minimum)
        yield Target(case.name, "vs FastAPI with a platform", found[PLATFORM, OURS]["vs FastAPI"], at_least=1.5)
        if NO_BACKEND in case.places:
            yield Target(case.name, "vs FastAPI without a backend", found[NO_BACKEND, OURS]["vs FastAPI"], at_least=2.5)
    if case.name in _TARGETS_OF_STORE:
        ours = found[STORE, OURS]
        rate = ours["requests/s"] * ours["calibration ms"] / gateway.QUIET
        yield Target(case.name, "requests/s of the store, quiet core", rate, at_least=_TARGETS_OF_STORE[case.name])
