"""`copy`: a store moves from a SQLite file to a PostgreSQL database, whose servers respond as before."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.models.caller import Role
from app.store.keys import AccessKeys
from tests.support.api import Api, served_contract
from tests.support.command import invoke
from tests.support.server import server_process
from tests.support.store import SECRETS_KEY, postgresql_only, store_url

FORMATS = ("transcript", "compact", "events")
DATABASE = "postgresql://ambient:hidden@/ambient?host=/nowhere"


class TestRefused:
    @pytest.mark.parametrize(
        ("option", "source", "target"),
        [
            ("--from", DATABASE, DATABASE),
            ("--from", "http://platform", DATABASE),
            ("--to", "sqlite:////tmp/none.db", "sqlite:////tmp/other.db"),
            ("--to", "sqlite:////tmp/none.db", "postgresql://"),
        ],
    )
    def test_a_url_of_another_kind_is_named(self, tmp_path: Path, option: str, source: str, target: str) -> None:
        done = invoke(tmp_path, "copy", "--from", source, "--to", target)

        assert done.exit_code == 2
        assert f"Invalid value for {option}" in done.stderr
        assert "hidden" not in done.output

    def test_what_is_not_there_is_one_line_and_nothing_is_made(self, tmp_path: Path) -> None:
        done = invoke(tmp_path, "copy", "--from", f"sqlite:///{tmp_path}/none.db", "--to", DATABASE)
        assert (done.exit_code, done.output) == (1, f"There is no session store {tmp_path}/none.db.\n")
        assert list(tmp_path.iterdir()) == []
        (tmp_path / "store.db").touch()
        done = invoke(tmp_path, "copy", "--from", f"sqlite:///{tmp_path}/store.db", "--to", DATABASE)
        assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
        assert "DATA_DIR" in done.stderr


def reads(api: Api, session_id: str) -> list[Any]:
    """Return all that a client can read of a session."""
    with api.stream(session_id, last_event_id="3") as stream:
        resumed = next(iter(stream))
    return [
        resumed,
        api.get_session(session_id).ok(),
        api.list_runs(session_id).ok(),
        api.list_approvals(session_id).ok(),
        api.logs(session_id),
        api.read_file(session_id, "notes.txt").content,
        *(api.output(session_id, format=form).ok() for form in FORMATS),
    ]


@postgresql_only
def test_a_server_on_the_copy_responds_as_before_and_goes_on(tmp_path: Path) -> None:
    source, target = f"sqlite:///{tmp_path}/data/ambient.db", store_url(tmp_path / "copy")
    copy = ("copy", "--from", source, "--to", target)
    with AccessKeys.open(source) as keys:
        _, key = keys.create(project="demo", role=Role.ADMIN)

    def create(api: Api) -> Any:
        body = {
            "task": "write notes.txt hello",
            "labels": {"team": "basket"},
            "environment_variables": {"SHOP": "open"},
        }
        return api.call("create_session", body=body, headers={"Idempotency-Key": "first"}).ok()

    with server_process(tmp_path, BACKEND_URL=source, SECRETS_KEY=SECRETS_KEY) as server:
        api = Api(server.url, served_contract(server.url), token=key)
        created = create(api)
        session_id = created["id"]
        [run] = api.list_runs(session_id).ok()["runs"]
        api.wait_for_run(session_id, run["run_id"])
        api.say(session_id, "slow 0 \N{PILE OF POO}")
        waiting = api.send_message(session_id, "delete notes.txt").ok()["run_id"]
        api.wait_for_run(session_id, waiting, "waiting")
        busy = api.running_session()
        active = api.send_message(busy, "slow 3000").ok()["run_id"]
        queued = api.send_message(busy, "slow 0").ok()["run_id"]
        api.wait_for_run(busy, active, "running")
        deleted = api.running_session()
        before = reads(api, session_id)
        done = invoke(tmp_path, *copy)
        assert (done.exit_code, done.stderr) == (1, "Another server uses this session store.\n")
        assert api.delete_session(deleted).status == 204
        server.kill()

    done = invoke(tmp_path, *copy, SECRETS_KEY=SECRETS_KEY)
    assert (done.exit_code, done.stderr) == (0, "")
    assert ": sessions 2, runs 6, events " in done.stdout
    with server_process(tmp_path, BACKEND_URL=target, SECRETS_KEY=SECRETS_KEY) as server:
        api = Api(server.url, served_contract(server.url), token=key)
        assert reads(api, session_id) == before
        assert create(api)["id"] == session_id
        assert api.wait_for_run(busy, queued)["status"] == "completed"
        assert api.get_run(busy, active).ok()["status"] == "error"
        [approval] = api.list_approvals(session_id).ok()["items"]
        assert api.answer_approval(session_id, approval["id"], "allow").status == 200
        assert api.wait_for_run(session_id, waiting)["continued_by"]
        with psycopg.connect(target) as connection:
            row_ids = connection.execute("SELECT row_id FROM sessions ORDER BY row_id").fetchall()
            assert api.running_session()
            [*old, (newest,)] = connection.execute("SELECT row_id FROM sessions ORDER BY row_id").fetchall()
        assert (old, newest) == (row_ids, 4)  # the third one was deleted
    done = invoke(tmp_path, *copy)
    assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "is not empty" in done.stderr
