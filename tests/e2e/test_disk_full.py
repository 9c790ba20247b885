"""A server whose files can grow no more, by a limit that the system sets, or since its disk is full."""

import contextlib
import os
import re
import resource
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_restart import running
from tests.support.api import Api, served_contract
from tests.support.server import ServerProcess, create_key, server_process

LARGE = "slow 0 " + "x" * 100_000
ROOM = 500_000
FULL = (507, "storage_full")
SMALL_DISK = (
    *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c"),
    """
    mkdir "$DATA_DIR" && mount -t tmpfs -o size=24m tmpfs "$DATA_DIR" || exit
    "$1" -m app keys create --new-store --project demo --role admin
    "$@"
    "$@"
    """,
    "sh",
)
"""A command that runs the server on a disk of its own as DATA_DIR, and once more when it has ended; it prints a key."""


def leave_room(server: ServerProcess, directory: Path, size: int) -> None:
    """Let the store's journal, into which all writes go, grow by so many bytes."""
    journal = (directory / "data" / "ambient.db-wal").stat().st_size
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (journal + size, resource.RLIM_INFINITY))


def fill(api: Api, session_id: str, message: str) -> list[str]:
    """Send a message again and again until it does not fit; the runs that were accepted."""
    accepted = []
    while (answer := api.send_message(session_id, message)).status == 202:
        accepted.append(answer.body["run_id"])
    assert answer.error == FULL
    return accepted


def test_a_full_disk_refuses_what_does_not_fit_and_loses_nothing(tmp_path: Path) -> None:
    key = create_key(tmp_path)
    with running(tmp_path, key) as (server, api):
        session_id, spare = (api.create_session(task="slow 0").ok()["id"] for _ in range(2))
        for made in (session_id, spare):
            api.wait_for_status(made, "running")
        active = api.send_message(session_id, "slow 3000").ok()["run_id"]
        api.wait_for_run(session_id, active, "running")

        leave_room(server, tmp_path, ROOM)
        accepted = fill(api, session_id, LARGE)
        assert accepted
        leave_room(server, tmp_path, len(LARGE) // 2)
        assert api.create_session(task=LARGE).error == FULL
        assert api.delete_session(spare).status == 204
        leave_room(server, tmp_path, 0)
        accepted += fill(api, session_id, "slow 0")
        assert api.list_sessions().ok()["total"] == 1
        assert [run["run_id"] for run in api.list_runs(session_id).ok()["runs"]][1:] == [active, *accepted]
        assert api.output(session_id).status == 200
        assert api.get_run(session_id, active).ok()["status"] == "running"

        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert api.interrupt_session(session_id).ok()["interrupted"] is True
        log = api.output(session_id, format="events", run_id=active).ok()["events"]
        ticks = [event["delta"] for event in log if event["type"] == "TEXT_MESSAGE_CONTENT"]
        assert ticks == [f"tick {number} of 3000\n" for number in range(1, len(ticks) + 1)]
        assert [event["type"] for event in log][-2:] == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
        for run_id in accepted:
            assert api.wait_for_run(session_id, run_id)["status"] == "completed"
        assert api.say(session_id, "slow 0")["status"] == "completed"
        server.terminate()
        assert server.wait() == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "ambient.db")) as store:
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server on a small disk, which is started once more when it is killed."""
    environment = {**os.environ, "DATA_DIR": str(tmp_path / "probe")}
    probe = subprocess.run([*SMALL_DISK, "true"], check=False, env=environment, capture_output=True)  # noqa: S603
    if probe.returncode != 0:
        pytest.skip("this machine lets no process mount a disk of its own")
    with server_process(tmp_path, launcher=SMALL_DISK, RATE_LIMIT_BURST="100000") as server:
        yield server


def test_on_a_disk_without_room_sessions_are_deleted_and_a_killed_server_starts(small_disk: ServerProcess) -> None:
    [key] = re.findall(r"ak_[\w-]+", small_disk.output)
    contract = served_contract(small_disk.url)
    with Api(small_disk.url, contract, token=key) as api:
        made = [api.create_session(task="slow 0").ok()["id"] for _ in range(5)]
        for session_id in made:
            api.wait_for_status(session_id, "running")
        active = api.send_message(made[0], "slow 3000").ok()["run_id"]
        api.wait_for_run(made[0], active, "running")
        fill(api, made[0], LARGE)
        fill(api, made[0], "slow 0")
        assert api.create_session(task="x").error == FULL
    os.kill(int(Path(f"/proc/{small_disk.pid}/task/{small_disk.pid}/children").read_text()), signal.SIGKILL)
    small_disk.wait_until_healthy()
    with Api(small_disk.url, contract, token=key) as api:
        assert api.get_run(made[0], active).ok()["status"] == "error"
        for session_id in reversed(made):
            assert api.delete_session(session_id).status == 204
        again = api.create_session(task="slow 0").ok()["id"]
        api.wait_for_status(again, "running")
        assert api.say(again, LARGE)["status"] == "completed"


def test_a_log_that_cannot_be_written_fails_no_request(tmp_path: Path) -> None:
    key = create_key(tmp_path)
    (tmp_path / "stderr").symlink_to("/dev/full")
    with running(tmp_path, key) as (_, api):
        session_id = api.create_session(task="slow 0").ok()["id"]
        api.wait_for_status(session_id, "running")
        assert api.get_session("other").error == (404, "session_not_found")
        assert api.send_message("other", "x").error == (404, "session_not_found")
        assert api.say(session_id, "fail")["status"] == "error"
        assert api.delete_session(session_id).status == 204
