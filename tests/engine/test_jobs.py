"""The queue of jobs, as workers share it."""

import asyncio
from pathlib import Path

import pytest

from app.engine.cluster import jobs
from app.engine.cluster.jobs import JobQueue
from app.store.leases import Placement
from tests.support.deadline import eventually
from tests.support.store import migrated_store_url, postgresql_only

pytestmark = postgresql_only


async def test_a_job_goes_to_the_worker_that_has_less_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "SHARE_SECONDS", 600.0)
    url = migrated_store_url(tmp_path / "store.db")
    begun: dict[int, str] = {}

    def queue(name: str) -> JobQueue:
        async def work(session: int) -> None:
            begun[session] = name
            await asyncio.Event().wait()

        return JobQueue(url, work)

    queues = {name: queue(name) for name in ("one", "other")}
    for name, each in queues.items():
        await each.open()
        running = asyncio.create_task(each.run(name, f"disk-of-{name}", [], concurrency=2))
        running.add_done_callback(asyncio.Task.exception)
    for session in range(2):
        await queues["one"].defer(Placement(session, disk=None))
        await asyncio.to_thread(eventually, lambda: len(begun), lambda count: count == session + 1)  # noqa: B023
    assert {*begun.values()} == {"one", "other"}
    for each in queues.values():
        await each.close()


async def test_a_job_that_was_taken_for_lost_ends_beside_the_one_that_replaced_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begun, ended, go_on = [], [], asyncio.Event()

    async def work(session: int) -> None:
        begun.append(session)
        await go_on.wait()
        ended.append(session)

    queue = JobQueue(migrated_store_url(tmp_path / "store.db"), work)
    await queue.open()
    running = asyncio.create_task(queue.run("one", "disk", [], concurrency=2))
    for count in (1, 2):
        await queue.defer(Placement(7, disk=None))
        await asyncio.to_thread(eventually, lambda: len(begun), lambda found: found == count)  # noqa: B023
        if count == 1:
            await queue.remove_of(7)
    go_on.set()
    await asyncio.to_thread(eventually, lambda: ended == [7, 7])
    await queue.close(within=10)
    await asyncio.wait({running}, timeout=10)
    assert [record for record in caplog.records if record.exc_info and record.exc_info[0] is KeyError] == []
