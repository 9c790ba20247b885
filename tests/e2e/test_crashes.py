"""A server that is killed again and again while clients are at work; CRASHES=n asks for n times (15)."""

import contextlib
import os
import random
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import Row, text

from app.conform.contract import Contract
from app.store.commands.sessions import WORKERS_LOST
from app.store.open import open_transactions
from tests.support.api import Api, served_contract
from tests.support.deadline import eventually
from tests.support.server import ServerProcess, create_key, free_port, server_process, server_store
from tests.support.store import ON_POSTGRESQL

CRASHES = int(os.environ.get("CRASHES", "15"))
CLIENTS = 3
MESSAGES = ("slow 0", "slow 2", "slow 30", "list the files", "fail", "ask now")
ON_BUSY = ("enqueue", "enqueue", "reject", "interrupt")
UNLIMITED = {"RATE_LIMIT_RPS": "1000000", "RATE_LIMIT_BURST": "1000000"}
ENDED = ("waiting", "completed", "error", "interrupted")


class Promises:
    """Everything that the server has acknowledged, to any client."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self.sessions: dict[str, set[str]] = {}
        self.cancelled: set[str] = set()
        self.answered: dict[str, str] = {}
        self.deleted: set[str] = set()
        self.perhaps_deleted: set[str] = set()

    def any_session(self, chance: random.Random) -> str | None:
        with self.lock:
            known = sorted(set(self.sessions) - self.perhaps_deleted)
        return chance.choice(known) if known else None

    def keep(self, remember: Callable[[], object]) -> None:
        with self.lock:
            remember()
            self.count += 1


class Client:
    """Asks for one thing after another until the server is gone."""

    def __init__(self, url: str, contract: Contract, key: str, promises: Promises, seed: int) -> None:
        self.api = Api(url, contract, token=key)
        self.promises = promises
        self.chance = random.Random(seed)  # noqa: S311 - no secret
        self.failure: BaseException | None = None

    def work(self) -> None:
        try:
            with self.api, contextlib.suppress(requests.RequestException):
                while True:
                    self.step()
        except BaseException as error:  # it is raised again in the test's own thread
            self.failure = error

    def step(self) -> None:
        session_id = self.promises.any_session(self.chance)
        if session_id is None or self.chance.random() < 0.1:
            self.create()
            return
        rare = [self.cancel, self.interrupt, self.stop, self.start, self.delete]
        act = self.chance.choice([self.send] * 8 + [self.answer] * 2 + rare)
        act(session_id)

    def create(self) -> None:
        session_id = self.api.create_session(task=self.chance.choice(MESSAGES)).ok()["id"]
        self.promises.keep(lambda: self.promises.sessions.setdefault(session_id, set()))

    def send(self, session_id: str) -> None:
        content, on_busy = self.chance.choice(MESSAGES), self.chance.choice(ON_BUSY)
        answer = self.api.send_message(session_id, content, on_busy=on_busy)
        if answer.status == 202:
            self.promises.keep(lambda: self.promises.sessions[session_id].add(answer.body["run_id"]))

    def answer(self, session_id: str) -> None:
        for approval in self.api.list_approvals(session_id).body.get("items", []):
            answer = self.api.answer_approval(session_id, approval["id"], self.chance.choice(["allow", "deny"]))
            if answer.status == 200:
                given = {approval["id"]: answer.body["status"]}
                self.promises.keep(partial(self.promises.answered.update, given))

    def cancel(self, session_id: str) -> None:
        with self.promises.lock:
            runs = sorted(self.promises.sessions[session_id])
        if runs and self.api.cancel_run(session_id, run_id := self.chance.choice(runs)).status == 204:
            self.promises.keep(lambda: self.promises.cancelled.add(run_id))

    def interrupt(self, session_id: str) -> None:
        self.api.interrupt_session(session_id)

    def stop(self, session_id: str) -> None:
        self.api.stop_session(session_id)

    def start(self, session_id: str) -> None:
        self.api.start_session(session_id)

    def delete(self, session_id: str) -> None:
        with self.promises.lock:
            self.promises.perhaps_deleted.add(session_id)
        if self.api.delete_session(session_id).status == 204:
            self.promises.keep(lambda: self.promises.deleted.add(session_id))


@pytest.mark.timeout(60 + 20 * CRASHES)
def test_nothing_acknowledged_is_lost_and_every_run_ends_once_however_often_the_server_is_killed(
    tmp_path: Path,
) -> None:
    key, port, promises = create_key(tmp_path), free_port(), Promises()
    chance = random.Random()  # noqa: S311 - no secret
    for _ in range(CRASHES):
        with server_process(tmp_path, port=port, **UNLIMITED) as server:
            crash_at_work(server, key, promises, chance)
        check_store(server_store(tmp_path), promises)
    with (
        server_process(tmp_path, port=port, **UNLIMITED) as server,
        Api(server.url, served_contract(server.url), token=key) as api,
    ):
        for session_id in kept(promises):
            come_to_rest(api, session_id)
        server.terminate()
        assert server.wait() == 0
    check_store(server_store(tmp_path), promises)
    check_ends(server_store(tmp_path), promises)
    workspaces = {path.name for path in (tmp_path / "data" / "workspaces" / "demo").iterdir()}
    assert not workspaces & promises.deleted


def crash_at_work(server: ServerProcess, key: str, promises: Promises, chance: random.Random) -> None:
    """Kill the server once it has kept clients busy for a while, at a moment that none of them knows."""
    contract = served_contract(server.url)
    clients = [Client(server.url, contract, key, promises, chance.randrange(10**6)) for _ in range(CLIENTS)]
    threads = [threading.Thread(target=client.work) for client in clients]
    enough = promises.count + chance.randrange(1, 40)
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: promises.count >= enough or any(client.failure for client in clients))
    finally:
        server.kill()
        for thread in threads:
            thread.join(60)
    for client in clients:
        if client.failure:
            raise client.failure


def kept(promises: Promises) -> list[str]:
    return sorted(set(promises.sessions) - promises.perhaps_deleted)


def come_to_rest(api: Api, session_id: str) -> None:
    """See a session take up its work again, and its queue come to its end.

    On PostgreSQL, one that was at work at each of the last kills has failed, and is started again.
    """
    session = api.wait_for_status(session_id, "running", "stopped", "failed")
    if session["status"] == "failed":
        assert session["error"] == WORKERS_LOST
        api.start_session(session_id).ok()
        session = api.wait_for_status(session_id, "running")
    if session["status"] == "running":
        api.interrupt_session(session_id).ok()
        api.send_message(session_id, "slow 0", on_busy="interrupt").ok()
        eventually(lambda: has_ended(api, session_id))


def has_ended(api: Api, session_id: str) -> bool:
    """Whether all runs of a session have ended; those that request an approval get it."""
    for approval in api.list_approvals(session_id).ok()["items"]:
        api.answer_approval(session_id, approval["id"], "allow")
    return all(run["status"] in ENDED for run in api.list_runs(session_id).ok()["runs"])


def check_store(url: str, promises: Promises) -> None:
    """The store is sound, has all that was acknowledged, and no run in it has two ends."""
    with open_transactions(url) as transaction, transaction() as connection:

        def rows(query: str) -> list[Row[*tuple[Any, ...]]]:
            return list(connection.execute(text(query)))

        if not ON_POSTGRESQL:
            assert rows("PRAGMA integrity_check") == [("ok",)]
            assert rows("PRAGMA foreign_key_check") == []
        runs: dict[str, set[str]] = {session_id: set() for (session_id,) in rows("SELECT id FROM sessions")}
        for session_id, run_id in rows("SELECT id, run_id FROM runs JOIN sessions ON session = sessions.row_id"):
            runs[session_id].add(run_id)
        assert not promises.deleted & set(runs)
        for session_id in kept(promises):
            assert promises.sessions[session_id] <= runs[session_id]
        gaps = "SELECT 1 FROM events GROUP BY session HAVING min(position) != 1 OR max(position) != count(*)"
        assert rows(gaps) == []
        assert rows(ORPHANS) == []
        answers: dict[str, str] = dict(map(tuple, rows("SELECT id, status FROM approvals")))
        for approval_id, status in promises.answered.items():
            assert answers.get(approval_id, status) == status
        assert max((ends for ends, *_ in rows(ENDS)), default=0) <= 1


ORPHANS = """
    SELECT approvals.id FROM approvals JOIN runs ON run = runs.row_id
    WHERE interrupt_id IS NULL AND approvals.status = 'pending' AND runs.status != 'running'
"""
AS_JSON = "convert_from(event, 'UTF8')::json ->> 'type'"
TYPE = AS_JSON if ON_POSTGRESQL else "json_extract(CAST(event AS TEXT), '$.type')"
ENDS = f"""
    SELECT count(position), runs.status, runs.run_id FROM runs LEFT JOIN events
    ON run = runs.row_id AND {TYPE} IN ('RUN_FINISHED', 'RUN_ERROR')
    GROUP BY runs.row_id
"""  # noqa: S608 - our own text


def check_ends(url: str, promises: Promises) -> None:
    """Every run has one end, but a task that never began; what was cancelled has never begun."""
    with open_transactions(url) as transaction, transaction() as connection:
        for ends, status, run_id in connection.execute(text(ENDS)):
            assert (ends, status) == (0, "queued") or (ends == 1 and status in ENDED), run_id
            assert run_id not in promises.cancelled or status == "interrupted"
