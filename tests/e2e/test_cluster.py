"""API servers and workers that share a PostgreSQL database: which of them a client reaches makes no difference."""

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from app.store.commands.sessions import WORKERS_LOST
from app.store.workers import STALE_SECONDS
from tests.support.api import Api
from tests.support.cluster import Cluster, cluster_in, pid_of
from tests.support.deadline import eventually
from tests.support.link import link_to
from tests.support.server import Background, listening
from tests.support.store import postgresql_only, postgresql_server

pytestmark = [postgresql_only, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with two workers, which no test harms."""
    with cluster_in(tmp_path_factory.mktemp("cluster")) as cluster:
        for name in ("a", "b"):
            cluster.start_worker(name, disk=f"disk-of-{name}")
        yield cluster


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster whose workers a test starts and ends."""
    with cluster_in(tmp_path) as cluster:
        yield cluster


class TestFromAnyServer:
    def test_a_session_is_created_streamed_and_continued(self, cluster: Cluster) -> None:
        one, other = cluster.apis
        session_id = one.running_session("slow 2")
        with other.stream(session_id) as stream:
            frames = iter(stream)
            assert next(frames).event["type"] == "RUN_STARTED"
            run_id = one.send_message(session_id, "slow 3").ok()["run_id"]
            for frame in frames:
                if frame.event["type"] == "RUN_FINISHED" and frame.event["runId"] == run_id:
                    break
        assert other.wait_for_run(session_id, run_id)["status"] == "completed"
        with other.run_agent(session_id, messages=[{"id": "1", "role": "user", "content": "slow 1"}]) as stream:
            assert [frame.event["type"] for frame in stream][-1] == "RUN_FINISHED"

    def test_a_session_stops_by_itself_once_its_run_has_ended(self, cluster: Cluster) -> None:
        session_id = cluster.apis[0].create_session(task="slow 0", stop_on_run_finished=True).ok()["id"]
        cluster.apis[1].wait_for_status(session_id, "stopped")
        assert [run["status"] for run in cluster.apis[0].list_runs(session_id).ok()["runs"]] == ["completed"]

    def test_a_session_stops_once_its_last_run_is_over_for_long_enough(self, cluster: Cluster) -> None:
        one, other = cluster.apis
        session_id = one.create_session(task="slow 3000", idle_timeout_seconds=1).ok()["id"]
        one.wait_for_status(session_id, "running")
        with other.stream(session_id) as stream, one.stream(session_id):
            assert next(iter(stream)).event["type"] == "RUN_STARTED"
            last = other.send_message(session_id, "slow 0").ok()["run_id"]
            assert one.interrupt_session(session_id).ok()["interrupted"] is True
            ended = other.wait_for_run(session_id, last)
            assert ended["status"] == "completed"
            stopped = one.wait_for_status(session_id, "stopped")
        stopped_at = round(datetime.fromisoformat(stopped["completed_at"]).timestamp() * 1000)
        assert stopped_at >= ended["finished_at"] + 1000

    def test_a_run_is_interrupted_and_a_queued_one_goes_on(self, cluster: Cluster) -> None:
        one, other = cluster.apis
        session_id = one.running_session()
        active = one.send_message(session_id, "slow 3000").ok()["run_id"]
        queued = other.send_message(session_id, "slow 0").ok()["run_id"]
        one.wait_for_run(session_id, active, "running")
        assert other.interrupt_session(session_id).ok()["interrupted"] is True
        assert one.get_run(session_id, active).ok()["status"] == "interrupted"
        assert one.wait_for_run(session_id, queued)["status"] == "completed"
        assert other.interrupt_session(session_id).ok()["interrupted"] is False
        busy = one.send_message(session_id, "slow 3000").ok()["run_id"]
        one.wait_for_run(session_id, busy, "running")
        urgent = other.send_message(session_id, "slow 0", on_busy="interrupt").ok()["run_id"]
        assert one.wait_for_run(session_id, busy)["status"] == "interrupted"
        assert one.wait_for_run(session_id, urgent)["status"] == "completed"

    def test_an_approval_is_decided(self, cluster: Cluster) -> None:
        one, other = cluster.apis
        session_id = one.running_session()
        run_id = one.send_message(session_id, "delete notes.txt").ok()["run_id"]
        [approval] = eventually(lambda: other.list_approvals(session_id).ok()["items"])
        assert other.answer_approval(session_id, approval["id"], "allow").status == 200
        continued = eventually(lambda: one.get_run(session_id, run_id).ok().get("continued_by"))
        assert one.wait_for_run(session_id, continued)["status"] == "completed"

    def test_a_session_stops_starts_and_is_deleted(self, cluster: Cluster) -> None:
        one, other = cluster.apis
        session_id = one.running_session()
        active = one.send_message(session_id, "slow 3000").ok()["run_id"]
        one.wait_for_run(session_id, active, "running")
        assert other.stop_session(session_id).status == 202
        one.wait_for_status(session_id, "stopped")
        assert one.get_run(session_id, active).ok()["status"] == "interrupted"
        assert other.start_session(session_id).status == 202
        one.wait_for_status(session_id, "running")
        workspace = cluster.disk_of(cluster.owner(session_id)) / "workspaces" / "demo" / session_id
        assert workspace.is_dir()
        busy = other.send_message(session_id, "slow 3000").ok()["run_id"]
        one.wait_for_run(session_id, busy, "running")
        assert one.delete_session(session_id).status == 204
        assert other.get_session(session_id).status == 404
        eventually(lambda: not workspace.exists())

    def test_a_session_that_fails_can_be_started_again(self, cluster: Cluster) -> None:
        one, other = cluster.apis
        session_id = one.create_session(task="x", repos=[{"url": "https://127.0.0.1:1/none.git"}]).ok()["id"]
        for _ in range(2):
            other.wait_for_status(session_id, "failed")
            assert one.start_session(session_id).status == 202

    def test_a_request_with_a_key_that_several_servers_get_at_once_has_one_effect(self, cluster: Cluster) -> None:
        session_id = cluster.apis[0].running_session("slow 0")
        clients = [api.as_(token=api.token) for api in cluster.apis * 4]

        def send(api: Api, key: str) -> str:
            request: dict[str, Any] = {"body": {"content": "slow 0"}, "headers": {"Idempotency-Key": key}}
            sent = eventually(
                lambda: api.call("send_message", session_id, **request),
                lambda sent: sent.body.get("code") != "idempotency_key_in_use",
            )
            return str(sent.ok()["run_id"])

        with ThreadPoolExecutor(len(clients)) as threads:
            accepted = [set(threads.map(send, clients, [f"key-{number}"] * len(clients))) for number in range(10)]
        assert list(map(len, accepted)) == [1] * 10
        assert len(cluster.apis[0].list_runs(session_id).ok()["runs"]) == 11


class TestTogether:
    def test_servers_share_the_rate_of_a_key(self, fragile: Cluster) -> None:
        for number in range(2):
            fragile.restart_server(number, KEY_RATE_LIMIT_RPS="1", KEY_RATE_LIMIT_BURST="20")
        began = time.monotonic()
        answers = [api.whoami() for _ in range(20) for api in fragile.apis]
        served = sum(answer.status == 200 for answer in answers)
        assert 20 <= served <= 21 + time.monotonic() - began
        assert {answer.error for answer in answers if answer.status != 200} == {(429, "rate_limited")}

    def test_servers_are_workers_too(self, tmp_path: Path) -> None:
        with cluster_in(tmp_path, ["serve"], WORKER_SESSIONS="1") as cluster:
            one, other = cluster.apis
            active_runs = busy_workers(one, 2)
            for api in cluster.apis:
                for session_id in active_runs:
                    assert api.read_file(session_id, "notes.txt").content == b"hello\n"
            workspaces = cluster.directory / "server-0" / "data" / "workspaces" / "demo"
            [mine] = [session_id for session_id in active_runs if (workspaces / session_id).is_dir()]
            active, queued = active_runs[mine], other.send_message(mine, "slow 0").ok()["run_id"]
            with one.stream(mine) as stream:
                seen = next(frame.id for frame in stream if frame.event["runId"] == active)
            cluster.restart_server(0)
            positions = []
            with other.stream(mine, last_event_id=seen) as stream:
                for frame in stream:
                    positions.append(int(frame.id or 0))
                    if frame.event["type"] == "RUN_FINISHED" and frame.event["runId"] == queued:
                        break
            assert positions == list(range(int(seen or 0) + 1, positions[-1] + 1))
            assert other.wait_for_run(mine, queued)["status"] == "completed"
            assert other.get_run(mine, active).ok()["status"] == "error"
            assert other.read_file(mine, "notes.txt").content == b"hello\n"

    def test_workers_share_the_bound_on_running_sessions(self, fragile: Cluster) -> None:
        for name in ("a", "b"):
            fragile.start_worker(name, disk=name, MAX_RUNNING_SESSIONS="2")
        one, other = fragile.apis
        first, second, third, fourth = [one.create_session(task="slow 0").ok()["id"] for _ in range(4)]
        never_begun = one.create_session(task="slow 0").ok()["id"]
        one.stop_session(never_begun)
        other.wait_for_status(never_begun, "stopped")
        eventually(lambda: not fragile.has_owner(never_begun))
        for running, waiting, last in ((first, third, fourth), (third, fourth, None)):
            other.wait_for_status(running, "running")
            eventually(lambda: other.logs(waiting)[-1:], lambda lines: "waits for a slot" in "".join(lines))  # noqa: B023
            assert other.get_session(waiting).ok()["status"] == "pending"
            one.stop_session(running)
            other.wait_for_status(waiting, "running")
            assert last is None or other.get_session(last).ok()["status"] == "pending"
        assert other.get_session(second).ok()["status"] == "running"


class TestAgents:
    def test_servers_list_those_of_all_workers_and_sessions_go_where_theirs_is(self, fragile: Cluster) -> None:
        one, other = fragile.apis
        assert one.list_agents().ok()["items"] == []
        assert one.create_session(task="x", agent="demo").faults == ["body.agent"]
        waiting = one.create_session(task="slow 0").ok()["id"]
        first = fragile.start_worker("a", disk="disk-of-a", AGENT="first", AGENTS="first=acp:/nowhere/first,demo")
        eventually(lambda: [each["name"] for each in one.list_agents().ok()["items"]] == ["first", "demo"])
        other.wait_for_status(waiting, "running")
        second = fragile.start_worker("b", disk="disk-of-b", AGENT="demo", AGENTS="second=acp:/nowhere/second")
        eventually(lambda: len(other.list_agents().ok()["items"]) == 3)
        listed = {each["name"]: (each["default"], each["available"]) for each in other.list_agents().ok()["items"]}
        assert listed == {"first": (True, False), "demo": (False, True), "second": (False, False)}
        assert other.create_session(task="x", agent="third").faults == ["body.agent"]
        assert one.create_session(task="x").ok()["agent"] == "first"
        for agent, worker in (("first", first), ("second", second)):
            for _ in range(3):
                session_id = one.create_session(task="x", agent=agent).ok()["id"]
                assert fragile.owner(session_id) is worker
        for worker in (first, second):
            worker.terminate()
            assert worker.wait() == 0
        eventually(lambda: [each["available"] for each in one.list_agents().ok()["items"]] == [False] * 3)


def busy_session(
    cluster: Cluster, *, disks: tuple[str, str] = ("disk", "disk"), **environment: str
) -> tuple[str, str, str]:
    """Return a session, its active run, and one in its queue; two workers, with the same disk by default."""
    for name, disk in zip(("a", "b"), disks, strict=True):
        cluster.start_worker(name, disk=disk, **environment)
    api = cluster.apis[0]
    session_id = api.running_session()
    active = api.send_message(session_id, "slow 3000").ok()["run_id"]
    queued = api.send_message(session_id, "slow 0").ok()["run_id"]
    eventually(lambda: api.get_run(session_id, active).ok()["event_count"] > 2)
    return session_id, active, queued


def busy_workers(api: Api, count: int) -> dict[str, str]:
    """Return an active run of each of so many sessions that have notes.txt: one on each worker, which takes no more."""
    active = {}
    for _ in range(count):
        session_id = api.running_session("write notes.txt hello")
        active[session_id] = api.send_message(session_id, "slow 3000").ok()["run_id"]
        api.wait_for_run(session_id, active[session_id], "running")
    return active


def check(cluster: Cluster, session_id: str, active: str, queued: str) -> None:
    """The active run has ended with its worker, the queued one went on elsewhere, and nothing is left."""
    api = cluster.apis[1]
    assert api.wait_for_run(session_id, queued)["status"] == "completed"
    assert api.get_run(session_id, active).ok()["status"] == "error"
    assert Counter(map(len, cluster.ends(session_id).values())) == {1: 3}
    assert api.stop_session(session_id).status == 202
    api.wait_for_status(session_id, "stopped")
    eventually(cluster.jobs, lambda jobs: jobs == [])


def clock(ahead: int) -> tuple[str, ...]:
    """A launcher of a process whose clock is so many seconds ahead."""
    return sys.executable, "-m", "tests.support.clock", str(ahead)


def error_code(cluster: Cluster, session_id: str, run_id: str) -> str:
    [last] = cluster.apis[0].output(session_id, format="events", run_id=run_id).ok()["events"][-1:]
    return str(last["code"])


class TestFaults:
    def test_a_killed_worker_ends_its_runs_and_nothing_else(self, fragile: Cluster) -> None:
        session_id, active, queued = busy_session(fragile)
        fragile.owner(session_id).kill()
        assert fragile.apis[0].interrupt_session(session_id).ok()["interrupted"] is True
        check(fragile, session_id, active, queued)
        assert error_code(fragile, session_id, active) == "worker_lost"

    def test_a_frozen_worker_writes_nothing_once_it_goes_on(self, fragile: Cluster) -> None:
        session_id, active, queued = busy_session(fragile)
        owner = fragile.owner(session_id)
        owner.freeze()
        assert fragile.apis[0].wait_for_run(session_id, queued)["status"] == "completed"
        os.kill(owner.pid, signal.SIGCONT)
        eventually(lambda: "worker_was_frozen" in owner.errors)
        check(fragile, session_id, active, queued)
        assert error_code(fragile, session_id, active) == "worker_lost"

    def test_a_worker_that_hears_nothing_of_the_database_ends_its_agents(
        self, fragile: Cluster, loop: Background
    ) -> None:
        with link_to(loop, fragile.store) as link:
            owner = fragile.start_worker("a", BACKEND_URL=link.url)
            api = fragile.apis[0]
            session_id = api.running_session()
            fragile.start_worker("b")
            eventually(lambda: len(fragile.alive()) == 2)
            active, queued = (api.send_message(session_id, text).ok()["run_id"] for text in ("slow 3000", "slow 0"))
            eventually(lambda: api.get_run(session_id, active).ok()["event_count"] > 2)
            link.cut()
            eventually(lambda: {"worker_cut_off", "lease_lost"} <= {line["event"] for line in owner.log})
            assert api.wait_for_run(session_id, queued)["status"] == "completed"
            link.mend()
            check(fragile, session_id, active, queued)
            assert error_code(fragile, session_id, active) == "worker_lost"

    def test_a_stopped_worker_leaves_its_sessions_to_others_at_once(self, fragile: Cluster) -> None:
        session_id, active, queued = busy_session(fragile)
        owner = fragile.owner(session_id)
        owner.terminate()
        assert owner.wait() == 0
        check(fragile, session_id, active, queued)
        assert error_code(fragile, session_id, active) == "server_restarted"

    def test_a_worker_that_drains_waits_for_its_runs_unless_it_is_stopped_again(self, fragile: Cluster) -> None:
        session_id, active, queued = busy_session(fragile, WORKER_DRAIN="10m")
        api = fragile.apis[0]
        first = fragile.owner(session_id)
        first.terminate()
        for _ in range(2):
            [(*_, seen)] = fragile.jobs()
            eventually(lambda: [job[-1] > seen for job in fragile.jobs()] == [True])  # noqa: B023
        assert api.interrupt_session(session_id).ok()["interrupted"] is True
        assert first.wait() == 0
        assert api.wait_for_run(session_id, queued)["status"] == "completed"
        second = fragile.owner(session_id)
        last = api.send_message(session_id, "slow 3000").ok()["run_id"]
        api.wait_for_run(session_id, last, "running")
        second.terminate()
        eventually(lambda: "worker_drains" in second.errors)
        assert api.get_run(session_id, last).ok()["status"] == "running"
        second.terminate()
        assert second.wait() == 0
        assert error_code(fragile, session_id, last) == "server_restarted"
        assert api.get_run(session_id, active).ok()["status"] == "interrupted"
        assert Counter(map(len, fragile.ends(session_id).values())) == {1: 4}

    def test_a_worker_drains_by_command_and_stays_for_its_workspaces(self, fragile: Cluster) -> None:
        session_id, active, queued = busy_session(fragile)
        api, owner = fragile.apis[0], fragile.owner(session_id)

        def report() -> dict[str, Any]:
            listed = json.loads(fragile.command("workers", "--json").stdout)["workers"]
            return next(each for each in listed if pid_of(each["id"]) == owner.pid)

        def health(path: str) -> requests.Response:
            return requests.get(f"{owner.url}/{path}", timeout=10)

        name = report()["id"]
        assert [health(path).status_code for path in ("health", "ready", "none")] == [200, 200, 404]
        assert {"workers_alive 2.0", "sessions_owned 1.0", "jobs_waiting 0.0"} <= {*health("metrics").text.splitlines()}
        assert fragile.command("workers", "drain", name).exit_code == 0
        eventually(lambda: "worker_drains" in owner.errors)
        assert (report()["state"], report()["sessions"]) == ("draining", [session_id])
        assert (health("ready").status_code, health("ready").json()["code"]) == (503, "not_ready")
        assert api.get_run(session_id, active).ok()["status"] == "running"
        others = [api.running_session() for _ in range(3)]
        assert owner not in {fragile.owner(each) for each in others}
        assert api.interrupt_session(session_id).ok()["interrupted"] is True
        assert fragile.command("workers", "drain", name, "--wait").exit_code == 0
        assert report()["sessions"] == []
        assert api.wait_for_run(session_id, queued)["status"] == "completed"
        assert fragile.owner(session_id) is not owner
        assert not owner.has_ended
        owner.terminate()
        assert owner.wait() == 0
        assert fragile.command("workers", "drain", name).exit_code == 1

    def test_a_worker_is_not_ready_before_others_see_it(self, fragile: Cluster) -> None:
        with psycopg.connect(fragile.store) as connection, ThreadPoolExecutor(1) as pool:
            connection.execute("LOCK TABLE workers IN SHARE MODE")
            starting = pool.submit(fragile.start_worker, "a")
            eventually(lambda: "a" in fragile.workers)
            worker = fragile.workers["a"]
            worker.wait_until_healthy()
            ready = requests.get(f"{worker.url}/ready", timeout=10)
            assert (ready.status_code, ready.json().get("error")) == (503, "The worker is starting.")
            connection.rollback()
            starting.result()
        assert len(fragile.alive()) == 1

    def test_runs_go_on_when_the_database_was_away_for_longer_than_a_worker_may_be(self, fragile: Cluster) -> None:
        session_id, active, queued = busy_session(fragile, disks=("a", "b"))
        api = fragile.apis[0]
        with postgresql_server().away():
            since = time.monotonic()
            assert api.get_session(session_id).error == (503, "storage_unavailable")
            for url in (api.url, fragile.workers["a"].url):
                assert requests.get(f"{url}/ready", timeout=10).status_code == 503
                metrics = requests.get(f"{url}/metrics", timeout=10)
                assert (metrics.status_code, "workers_alive" in metrics.text) == (200, False)
            eventually(lambda: time.monotonic() - since > STALE_SECONDS)
        eventually(lambda: api.get_session(session_id).status == 200)
        count = api.get_run(session_id, active).ok()["event_count"]
        eventually(lambda: api.get_run(session_id, active).ok()["event_count"] > count)
        assert api.interrupt_session(session_id).ok()["interrupted"] is True
        assert fragile.apis[1].wait_for_run(session_id, queued)["status"] == "completed"
        assert Counter(map(len, fragile.ends(session_id).values())) == {1: 3}

    def test_whoever_is_stopped_while_the_database_is_away_ends(self, tmp_path: Path) -> None:
        with cluster_in(tmp_path, ["serve"], WORKER_SESSIONS="1") as cluster:
            processes = [*cluster.servers, cluster.start_worker("a", WORKER_SESSIONS="1")]
            active = busy_workers(cluster.apis[0], len(processes))
            with postgresql_server().away():
                for process in processes:
                    process.terminate()
                assert [process.wait() for process in processes] == [0, 0, 0]
            cluster.restart_server(0)
            cluster.start_worker("b", disk="disk")
            ends = [cluster.apis[0].wait_for_run(*run)["status"] for run in active.items()]
            assert ends == ["error", "error", "error"]

    def test_a_session_that_costs_one_worker_after_the_other_fails(self, fragile: Cluster) -> None:
        with listening() as stuck:
            repo = {"url": f"https://127.0.0.1:{stuck.getsockname()[1]}/stuck.git"}
            first = fragile.start_worker("0", GIT_HOSTS="127.0.0.1")
            one, other = fragile.apis
            innocent, harmful = one.running_session("slow 0"), one.running_session("slow 0")
            never_begun = one.create_session(task="x", repos=[repo]).ok()["id"]
            runs = [one.send_message(harmful, "slow 3000").ok()["run_id"] for _ in range(4)]
            for number in range(3):
                worker = fragile.workers[str(number)]
                other.wait_for_run(harmful, runs[number], "running")
                eventually(lambda: fragile.owner(never_begun) is worker)  # noqa: B023
                assert one.say(innocent, "slow 0")["status"] == "completed"
                also_lost = one.send_message(innocent, "slow 3000").ok()["run_id"]
                other.wait_for_run(innocent, also_lost, "running")
                worker.kill()
                fragile.start_worker(str(number + 1), GIT_HOSTS="127.0.0.1")
            for session_id in (harmful, never_begun):
                assert other.wait_for_status(session_id, "failed")["error"] == WORKERS_LOST
            found = [one.get_run(harmful, run_id).ok()["status"] for run_id in runs]
            assert found == ["error", "error", "error", "interrupted"]
            assert Counter(map(len, fragile.ends(harmful).values())) == {1: 5}
            assert one.say(innocent, "slow 0")["status"] == "completed"
            assert one.start_session(harmful).status == 202
            other.wait_for_status(harmful, "running")
            assert one.say(harmful, "slow 0")["status"] == "completed"
            assert first.has_ended

    def test_clocks_that_differ_change_no_order_and_cost_no_worker(self, fragile: Cluster) -> None:
        first = fragile.start_worker("ahead", launcher=clock(600))
        one, other = fragile.apis
        session_id = one.running_session("slow 0")
        runs = [one.say(session_id, "slow 0")["run_id"]]
        first.terminate()
        assert first.wait() == 0
        fragile.start_worker("behind", launcher=clock(-600))
        runs.append(other.say(session_id, "slow 0")["run_id"])
        runs.append(other.send_message(session_id, "slow 3000").ok()["run_id"])
        fragile.start_worker("ahead again", launcher=clock(600))
        eventually(lambda: len(fragile.alive()) == 2)
        other.wait_for_run(session_id, runs[-1], "running")
        listed = one.list_runs(session_id).ok()["runs"]
        assert [run["run_id"] for run in listed][1:] == runs
        assert one.interrupt_session(session_id).ok()["interrupted"] is True
        assert Counter(map(len, fragile.ends(session_id).values())) == {1: 4}

    def test_an_idle_session_is_taken_over_by_whoever_is_there(self, fragile: Cluster) -> None:
        first = fragile.start_worker("a")
        session_id = fragile.apis[0].running_session()
        first.terminate()
        assert first.wait() == 0
        fragile.start_worker("b")
        assert fragile.apis[1].say(session_id, "slow 0")["status"] == "completed"
