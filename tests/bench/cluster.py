"""Servers and workers on PostgreSQL, beside a server on a file: small requests, and how soon a run is seen."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import NamedTuple

import psycopg
import requests

from app.models.caller import Role
from app.store.keys import AccessKeys
from tests.bench import small, subjects
from tests.bench.limits import UNLIMITED
from tests.bench.load import wrk
from tests.bench.machine import calibration_ms, cores, cpu_seconds
from tests.bench.result import Row
from tests.bench.small import GET, MESSAGE, POST, SLOW, Case
from tests.bench.subjects import OURS, QUIET, Subject
from tests.support.api import Stream, StreamFrame
from tests.support.deadline import eventually
from tests.support.server import ServerProcess, free_port, server_process
from tests.support.store import SECRETS_KEY, postgresql_server

TITLE = "Servers and workers"
COLUMNS = ("requests/s", "p50 ms", "p99 ms", "CPU µs/request", "CPU µs/request of the database", "calibration ms")
SIZES = ((1, 1), (2, 1), (3, 1), (4, 1), (1, 2), (1, 3), (1, 4))
"""Servers and workers."""
CASES = (Case(GET, "/v1/sessions/{}"), Case(POST, "/v1/sessions/{}/message", MESSAGE))
STARTED, ENDED = "message to RUN_STARTED in a stream", "interrupt to the end of the run"
CLIENTS = 4
RUNS = 10  # of each client
SECONDS = 2
MAX_CONNECTIONS = 300


class Cluster(NamedTuple):
    """API servers that share a store, and the process of its database, if it has one."""

    name: str
    servers: Sequence[Subject]
    database: int | None = None


def rows() -> Iterator[Row]:
    """Yield the rows of a server on a file, and of each number of servers and workers."""
    with TemporaryDirectory() as name, subjects.embedded(Path(name), **QUIET) as server:
        yield from measured(Cluster("SQLite, 1 server", [server]))
    for servers, workers in SIZES:
        with TemporaryDirectory() as name, cluster(Path(name), servers, workers) as found:
            yield from measured(found)


@contextmanager
def cluster(directory: Path, servers: int, workers: int) -> Iterator[Cluster]:
    """Start servers and workers on a new database. They may use all cores, as the database does."""
    with ExitStack() as stack:
        stack.enter_context(_on_all_cores())
        database = postgresql_server()
        name = f"bench_{servers}_{workers}"
        with psycopg.connect(database.url("postgres"), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = on")
            connection.execute(f"CREATE DATABASE {name}")
        database.allow_connections(MAX_CONNECTIONS)
        environment = {"BACKEND_URL": database.url(name), "SECRETS_KEY": SECRETS_KEY, **UNLIMITED, **QUIET}
        with AccessKeys.open(database.url(name)) as keys:
            _, key = keys.create(project="demo", role=Role.ADMIN)

        def start(name: str, *command: str) -> ServerProcess:
            (directory / name).mkdir()
            port = free_port()
            process = server_process(directory / name, *command, port=port, WORKER_HEALTH_PORT=str(port), **environment)
            started = stack.enter_context(process)
            started.wait_until_ready()
            return started

        for number in range(workers):
            start(f"worker-{number}", "worker")
        started = [start(f"server-{number}", "serve", "--no-worker") for number in range(servers)]
        headers = {"Authorization": f"Bearer {key}"}
        found = [Subject(OURS, each.url, each.pid, headers) for each in started]
        title = f"PostgreSQL, {servers} server{'s' * (servers > 1)}, {workers} worker{'s' * (workers > 1)}"
        yield Cluster(title, found, database.pid)


@contextmanager
def _on_all_cores() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def measured(found: Cluster) -> Iterator[Row]:
    """Yield the rows of a cluster; requests go to all servers, and a run is begun on one and seen on another."""
    for case in CASES:
        with small.path_of(case, small.STORE, found.servers[0]) as path:
            yield Row(case.name, found.name, _loaded(found, path, case))
    with ThreadPoolExecutor(CLIENTS) as clients:
        times = [each for found in clients.map(_converse, [found] * CLIENTS) for each in found]
    for name, number in ((STARTED, 0), (ENDED, 1)):
        seconds = [each[number] for each in times]
        yield Row(name, found.name, {"p50 ms": 1000 * median(seconds), "p99 ms": 1000 * quantiles(seconds, n=100)[-1]})


def _loaded(found: Cluster, path: str, case: Case) -> dict[str, float]:
    """Return the figures of a request that is sent to all servers at once."""

    def used() -> float:
        return sum(cpu_seconds(server.pid) for server in found.servers)

    def load(server: Subject) -> tuple[float, float, float, int]:
        connections = case.connections // len(found.servers)
        url = f"{server.url}{path}"
        result = wrk(url, server.headers, connections=connections, seconds=SECONDS, body=case.body)
        return result.rate, result.p50_ms, result.p99_ms, result.requests

    before, database = used(), found.database and cpu_seconds(found.database)
    with ThreadPoolExecutor(len(found.servers)) as clients:
        rates, p50, p99, counts = zip(*clients.map(load, found.servers), strict=True)
    figures = {
        "requests/s": sum(rates),
        "p50 ms": median(p50),
        "p99 ms": max(p99),
        "CPU µs/request": 1e6 * (used() - before) / sum(counts),
        "calibration ms": calibration_ms(cores().server),
    }
    if found.database and database is not None:
        figures["CPU µs/request of the database"] = 1e6 * (cpu_seconds(found.database) - database) / sum(counts)
    return figures


def _converse(found: Cluster) -> list[tuple[float, float]]:
    """Begin runs on the first server and see them on the last; return how long each took to begin, and to end."""
    first, last = found.servers[0], found.servers[-1]
    session = f"/v1/sessions/{first.create('hello')}"
    eventually(lambda: first.runs(session.rpartition("/")[2]), lambda statuses: statuses == ["completed"])
    log = requests.get(f"{last.url}{session}/output?format=events", headers=last.headers, timeout=60).json()["events"]
    times = []
    events = f"{last.url}{session}/events?after={len(log)}"
    with Stream(requests.get(events, headers=last.headers, stream=True, timeout=60)) as stream:
        frames = iter(stream)
        for _ in range(RUNS):
            begun = perf_counter()
            _post(first, f"{session}/message", {"content": SLOW})
            _wait(frames, "RUN_STARTED")
            started = perf_counter()
            _post(first, f"{session}/interrupt")
            _wait(frames, "RUN_FINISHED", "RUN_ERROR")
            times.append((started - begun, perf_counter() - started))
    return times


def _post(server: Subject, path: str, body: object = None) -> None:
    requests.post(f"{server.url}{path}", json=body, headers=server.headers, timeout=60).raise_for_status()


def _wait(frames: Iterator[StreamFrame], *types: str) -> None:
    while next(frames).event["type"] not in types:
        pass
