"""Workers with disks of their own: a session stays with the disk of its workspace, and every server reaches it."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from app.store import workers
from app.store.open import open_transactions
from tests.support.cluster import Cluster, cluster_in, pid_of
from tests.support.deadline import eventually
from tests.support.store import postgresql_only

pytestmark = [postgresql_only, pytest.mark.timeout(300)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with cluster_in(tmp_path) as cluster:
        yield cluster


def known(cluster: Cluster) -> list[workers.WorkerRow]:
    with open_transactions(cluster.store) as transaction, transaction() as connection:
        return workers.known(connection)


def workspace(cluster: Cluster, session_id: str) -> Path:
    """The directory of a session, on whichever disk it is."""
    [found] = cluster.directory.glob(f"*/workspaces/demo/{session_id}")
    return found


def test_a_workspace_is_reached_through_every_server(cluster: Cluster) -> None:
    for name in ("a", "b"):
        cluster.start_worker(name, disk=f"disk-of-{name}")
    one, other = cluster.apis
    session_id = one.running_session("write notes.txt hello")
    eventually(lambda: other.diff(session_id).ok()["file_count"] == 1)
    assert workspace(cluster, session_id).joinpath("notes.txt").read_text() == "hello\n"

    large = bytes(range(256)) * 8000
    written = other.write_file(session_id, "docs/ü.bin", iter([large[:1_000_000], large[1_000_000:]]))
    assert written.status == 204
    read = one.read_file(session_id, "docs/ü.bin")
    assert (read.content, read.headers["ETag"]) == (large, written.headers["ETag"])
    part = one.read_file(session_id, "docs/ü.bin", Range="bytes=255-257")
    assert (part.status, part.content) == (206, b"\xff\x00\x01")
    assert {item["path"] for item in other.files(session_id).ok()["items"]} == {"notes.txt", "docs", "docs/ü.bin"}
    archive = one.call("get_workspace_archive", session_id, query={"format": "tar.gz"})
    assert archive.headers["Content-Disposition"].endswith(f"{session_id}.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(archive.content)) as tar:
        assert sorted(tar.getnames()) == ["docs", "docs/ü.bin", "notes.txt"]
    assert b"+hello" in other.call("get_workspace_patch", session_id).content

    assert one.read_file(session_id, "none").error == (404, "file_not_found")
    assert one.read_file(session_id, "../x").error == (404, "file_not_found")
    assert one.read_file(session_id, "docs").error == (422, "wrong_file_type")
    assert one.call("push_workspace", session_id, body={"branch": "work"}).error == (422, "not_supported")
    attached = {"attachments": [{"path": "notes.txt"}]}
    assert one.call("send_message", session_id, body={"content": "read it", **attached}).status == 202


def test_a_body_that_is_refused_or_breaks_off_leaves_no_file(cluster: Cluster) -> None:
    cluster.start_worker("a")
    api = cluster.apis[0]
    session_id = api.running_session()

    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ZeroDivisionError

    limit = 100 * 2**20
    assert api.write_file(session_id, "large", bytes(limit + 1)).error == (413, "payload_too_large")
    with pytest.raises(ZeroDivisionError):
        api.write_file(session_id, "broken", broken())
    assert api.files(session_id).ok()["items"] == []
    staging = workspace(cluster, session_id).parents[2] / "workspace-data" / "demo" / session_id / "staging"
    eventually(lambda: not list(staging.glob("*")))


def test_a_worker_serves_only_who_has_its_token(cluster: Cluster) -> None:
    cluster.start_worker("a")
    session_id = cluster.apis[0].running_session()
    [worker] = known(cluster)
    url = f"{worker.url}/workspaces/1/files?path=&limit=10"
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Bearer ü".encode()}):
        assert requests.get(url, headers=headers, timeout=10).status_code == 401
    permitted = {"Authorization": f"Bearer {worker.token}"}
    assert requests.get(url, headers=permitted, timeout=10).json() == {"items": [], "truncated": False}
    for target in ("/workspaces/2/files?path=&limit=10", "/workspaces/1/files?path=%FF&limit=x", "/workspaces/x/file"):
        assert requests.get(f"{worker.url}{target}", headers=permitted, timeout=10).status_code in {400, 404}
    assert cluster.apis[0].get_session(session_id).status == 200


def test_sessions_wait_for_their_disk(cluster: Cluster) -> None:
    first = cluster.start_worker("a", disk="disk-of-a")
    api = cluster.apis[1]
    session_id = api.running_session("write notes.txt hello")
    api.wait_for_run(session_id, api.send_message(session_id, "slow 0").ok()["run_id"])
    first.terminate()
    assert first.wait() == 0
    cluster.start_worker("b", disk="disk-of-b")
    eventually(lambda: any(worker.is_alive for worker in known(cluster)))
    assert api.read_file(session_id, "notes.txt").error == (503, "workspace_unavailable")
    waiting = api.send_message(session_id, "slow 0").ok()["run_id"]
    elsewhere = api.running_session("slow 0")
    assert cluster.owner(elsewhere) is cluster.workers["b"]
    assert api.get_run(session_id, waiting).ok()["status"] == "queued"
    cluster.start_worker("a again", disk="disk-of-a")
    assert api.wait_for_run(session_id, waiting)["status"] == "completed"
    assert api.read_file(session_id, "notes.txt").content == b"hello\n"


def test_the_next_worker_of_a_disk_takes_over_at_once_from_one_that_was_killed(cluster: Cluster) -> None:
    first = cluster.start_worker("a")
    api = cluster.apis[0]
    session_id = api.running_session()
    active = api.send_message(session_id, "slow 3000").ok()["run_id"]
    queued = api.send_message(session_id, "slow 0").ok()["run_id"]
    api.wait_for_run(session_id, active, "running")
    first.kill()
    second = cluster.start_worker("b")
    assert api.wait_for_run(session_id, queued)["status"] == "completed"
    assert cluster.owner(session_id) is second
    assert api.get_run(session_id, active).ok()["status"] == "error"
    assert "sweep_failed" not in second.errors
    assert [pid_of(worker.name) for worker in known(cluster) if worker.is_alive] == [second.pid]


def test_a_session_whose_disk_is_lost_fails_and_begins_anew_when_it_is_started(cluster: Cluster) -> None:
    first = cluster.start_worker("a", disk="disk-of-a")
    api = cluster.apis[0]
    session_id = api.running_session("write notes.txt hello")
    idle, gone = api.running_session(), api.running_session()
    api.stop_session(idle)
    api.wait_for_status(idle, "stopped")
    first.terminate()
    assert first.wait() == 0
    waiting = api.send_message(session_id, "slow 0").ok()["run_id"]
    assert api.delete_session(gone).status == 204
    cluster.start_worker("b", disk="disk-of-b", WORKER_LOST="1s")
    failed = api.wait_for_status(session_id, "failed")
    assert failed["error"] == (
        "The machine with the session's workspace is gone. Start the session to make its workspace anew."
    )
    assert api.get_run(session_id, waiting).ok()["status"] == "interrupted"
    assert api.read_file(session_id, "notes.txt").error == (503, "workspace_unavailable")
    assert api.get_session(idle).ok()["status"] == "stopped"
    eventually(cluster.jobs, lambda jobs: jobs == [])
    for server in range(2):
        cluster.restart_server(server, WORKER_LOST="1s")
    for each in (session_id, idle):
        assert api.start_session(each).status == 202
        api.wait_for_status(each, "running")
        assert api.say(each, "slow 0")["status"] == "completed"
        assert api.read_file(each, "notes.txt").error == (404, "file_not_found")
