"""Faults in any order in a cluster with clients at work; CHAOS=n asks for n of them (5)."""

import contextlib
import os
import random
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
import requests

from tests.e2e.test_crashes import ENDED, MESSAGES, Client, Promises, check_ends, check_store, kept
from tests.support.api import Api
from tests.support.cluster import Cluster, cluster_in
from tests.support.deadline import eventually
from tests.support.link import Link, link_to
from tests.support.server import Background, ServerProcess
from tests.support.store import ON_POSTGRESQL, postgresql_server

CHAOS = int(os.environ.get("CHAOS", "5"))
CLIENTS = 3
WORKERS = 3
DISKS = 2
CONNECTIONS = 400  # workers that are frozen keep theirs
SECONDS = 120.0
pytestmark = [
    pytest.mark.skipif(not ON_POSTGRESQL, reason="needs PostgreSQL: make chaos"),
    pytest.mark.timeout(300 + 60 * CHAOS),
]


class Survivor(Client):
    """A client that switches to another server when its own is gone, until it is stopped."""

    def __init__(self, apis: list[Api], promises: Promises, seed: int) -> None:
        self.apis = [Api(api.url, api.contract, token=api.token) for api in apis]
        self.api = self.apis[0]
        self.promises = promises
        self.chance = random.Random(seed)  # noqa: S311 - no secret
        self.failure: BaseException | None = None
        self.stop_working = threading.Event()

    def work(self) -> None:
        try:
            while not self.stop_working.is_set():
                self.api = self.chance.choice(self.apis)
                with contextlib.suppress(requests.RequestException):
                    self.step()
        except BaseException as error:  # it is raised again in the test's own thread
            self.failure = error

    def create(self) -> None:
        created = self.api.create_session(task=self.chance.choice(MESSAGES))
        if created.status != 503:
            session_id = created.ok()["id"]
            self.promises.keep(lambda: self.promises.sessions.setdefault(session_id, set()))


class Chaos:
    """A cluster with a hand that breaks it; each worker reaches the database over a link of its own."""

    def __init__(self, cluster: Cluster, chance: random.Random, loop: Background, stack: ExitStack) -> None:
        self.cluster = cluster
        self.chance = chance
        self.away: list[ServerProcess] = []
        """Workers that are frozen or cut off."""
        self.returned: list[ServerProcess] = []
        """Those that have gone on, beside the ones that replaced them."""
        self.links: dict[ServerProcess, Link] = {}
        self._loop = loop
        self._stack = stack
        self._count = 0
        for number in range(WORKERS):
            self.add_worker(f"disk-{number % DISKS}")

    def add_worker(self, disk: str) -> None:
        self._count += 1
        link = self._stack.enter_context(link_to(self._loop, self.cluster.store))
        worker = self.cluster.start_worker(f"worker-{self._count}", disk=disk, BACKEND_URL=link.url)
        self.links[worker] = link

    def replace_worker(self, name: str | None = None) -> ServerProcess:
        """Start another worker on the disk of one, any by default, and return that one."""
        worker = self.cluster.workers.pop(name or self.chance.choice(sorted(self.cluster.workers)))
        self.add_worker(self.cluster.disk_of(worker).name)
        return worker

    def fault(self) -> str:
        """Do one thing to the cluster that must not matter."""
        faults: list[Callable[[], None]] = [
            self.kill_worker,
            self.stop_worker,
            self.freeze_worker,
            self.cut_off_worker,
            self.let_workers_go_on,
            self.restart_database,
            self.cut_connections,
            self.kill_server,
        ]
        fault = self.chance.choice(faults)
        fault()
        self.replace_ended_workers()
        return fault.__name__

    def replace_ended_workers(self) -> None:
        """Start others for workers that could not start while the database was away, as a service manager does."""
        for name in [name for name, worker in self.cluster.workers.items() if worker.has_ended]:
            self.replace_worker(name)

    def kill_worker(self) -> None:
        self.replace_worker().kill()

    def stop_worker(self) -> None:
        self.replace_worker().terminate()

    def freeze_worker(self) -> None:
        worker = self.replace_worker()
        worker.freeze()
        self.away.append(worker)

    def cut_off_worker(self) -> None:
        worker = self.replace_worker()
        self.links[worker].cut()
        self.away.append(worker)

    def let_workers_go_on(self) -> None:
        for worker in self.returned:
            worker.terminate()
        for worker in self.away:
            self.links[worker].mend()
            os.kill(worker.pid, signal.SIGCONT)
        self.returned, self.away = self.away, []

    def restart_database(self) -> None:
        postgresql_server().restart()

    def cut_connections(self) -> None:
        query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid != pg_backend_pid()"
        with psycopg.connect(self.cluster.store, autocommit=True) as connection:
            connection.execute(query)

    def kill_server(self) -> None:
        self.cluster.restart_server(self.chance.randrange(len(self.cluster.apis)))


def test_nothing_acknowledged_is_lost_and_every_run_ends_once_whatever_happens_to_the_cluster(
    tmp_path: Path, loop: Background
) -> None:
    seed = random.randrange(10**9)  # noqa: S311 - no secret
    print(f"seed {seed}")  # noqa: T201 - shown if it fails
    promises, chance = Promises(), random.Random(seed)  # noqa: S311 - no secret
    postgresql_server().allow_connections(CONNECTIONS)
    with cluster_in(tmp_path) as cluster, ExitStack() as stack:
        chaos = Chaos(cluster, chance, loop, stack)
        clients = [Survivor(cluster.apis, promises, chance.randrange(10**6)) for _ in range(CLIENTS)]
        threads = [threading.Thread(target=client.work) for client in clients]
        for thread in threads:
            thread.start()
        done = []
        try:
            for _ in range(CHAOS):
                enough = promises.count + chance.randrange(10, 40)
                eventually(lambda: promises.count >= enough or any(each.failure for each in clients), within=SECONDS)  # noqa: B023
                done.append(chaos.fault())
        finally:
            for client in clients:
                client.stop_working.set()
            chaos.let_workers_go_on()
            for thread in threads:
                thread.join(SECONDS)
        for client in clients:
            if client.failure:
                raise AssertionError(f"seed {seed}, faults {done}") from client.failure
        chaos.replace_ended_workers()
        api = cluster.apis[0].as_(token=cluster.apis[0].token)
        for session_id in kept(promises):
            come_to_rest(api, session_id)
        # Also those whose creation or deletion got no response: one may wait for a decision for long.
        everything = all_sessions(api)
        for session_id in everything:
            api.stop_session(session_id)
        for session_id in everything:
            eventually(lambda: has_stopped(api, session_id), within=SECONDS)  # noqa: B023
        eventually(cluster.jobs, lambda jobs: jobs == [], within=SECONDS)
        check_store(cluster.store, promises)
        check_ends(cluster.store, promises)


def all_sessions(api: Api) -> list[str]:
    """Return the ids of all sessions, whether a client knows of them or not."""
    total = api.list_sessions().ok()["total"]
    pages = [api.list_sessions(limit=100, offset=offset).ok()["items"] for offset in range(0, total, 100)]
    return [session["id"] for page in pages for session in page]


def has_stopped(api: Api, session_id: str) -> bool:
    return api.get_session(session_id).ok()["status"] in {"stopped", "failed"}


def come_to_rest(api: Api, session_id: str) -> None:
    """See the queue of a session come to its end."""

    def states() -> tuple[str, list[str]]:
        status = api.get_session(session_id).ok()["status"]
        runs = [run["status"] for run in api.list_runs(session_id).ok()["runs"]]
        if status == "running" and "running" in runs:
            api.interrupt_session(session_id)
        return status, runs

    def at_rest(found: tuple[str, list[str]]) -> bool:
        status, runs = found
        return status == "stopped" or (status in {"running", "failed"} and all(run in ENDED for run in runs))

    eventually(states, at_rest, within=SECONDS)
