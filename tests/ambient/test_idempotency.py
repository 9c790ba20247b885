"""Idempotency keys with a platform: stored in this server's own file, through restarts and crashes."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aiohttp import web

from app.backends.ambient.idempotency import IdempotencyStore
from app.errors import (
    BackendUnavailable,
    IdempotencyKeyReused,
    IdempotencyOutcomeUnknown,
    StorageFull,
    StorageUnavailable,
)
from app.models.caller import Caller, IdempotencyKey
from app.models.runs import AcceptedRun
from app.results import Idempotent
from app.store import idempotency
from tests.support.deadline import eventually
from tests.support.platform import FakePlatform
from tests.support.server import Background
from tests.support.stage import PlatformStage, platform_server

RESULT = AcceptedRun(run_id="r", thread_id="t")


class Work:
    """A request to be carried out once, and how often it was."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.done = 0
        self.error = error

    async def __call__(self) -> AcceptedRun:
        self.done += 1
        if self.error:
            raise self.error
        return RESULT


class Clock:
    """The time in ms, which moves only by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


def caller(key: bytes = b"key", fingerprint: bytes = b"print") -> Caller:
    return Caller(token="t", project="p", idempotency_key=IdempotencyKey(key, fingerprint))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "idempotency.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[IdempotencyStore]:
    store = IdempotencyStore(path)
    yield store
    await store.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(idempotency, "now_ms", clock)
    return clock


async def test_a_response_is_stored_over_a_restart(path: Path) -> None:
    work = Work()
    for number in range(2):
        store = IdempotencyStore(path)
        assert await store.once(caller(), AcceptedRun, work) == Idempotent(RESULT, replayed=bool(number))
        await store.close()
    assert work.done == 1


async def test_a_response_is_forgotten_after_a_day(store: IdempotencyStore, clock: Clock) -> None:
    work = Work()
    await store.once(caller(), AcceptedRun, work)
    clock.now += idempotency.LIFETIME_MS - 1
    with pytest.raises(IdempotencyKeyReused):
        await store.once(caller(fingerprint=b"other"), AcceptedRun, work)
    clock.now += 1
    await store.once(caller(b"another"), AcceptedRun, work)
    await store.once(caller(fingerprint=b"other"), AcceptedRun, work)
    assert work.done == 3


async def test_a_request_whose_outcome_is_unknown_is_not_repeated(path: Path, clock: Clock) -> None:
    store = IdempotencyStore(path)
    with pytest.raises(asyncio.CancelledError):
        await store.once(caller(), AcceptedRun, Work(asyncio.CancelledError()))
    await store.close()
    store, work = IdempotencyStore(path), Work()
    with pytest.raises(IdempotencyOutcomeUnknown):
        await store.once(caller(), AcceptedRun, work)
    with pytest.raises(IdempotencyKeyReused):
        await store.once(caller(fingerprint=b"other"), AcceptedRun, work)
    assert work.done == 0
    clock.now += idempotency.LIFETIME_MS
    assert (await store.once(caller(), AcceptedRun, work)).value == RESULT
    await store.close()


async def test_an_error_is_not_stored(store: IdempotencyStore) -> None:
    with pytest.raises(BackendUnavailable):
        await store.once(caller(), AcceptedRun, Work(BackendUnavailable()))
    assert (await store.once(caller(fingerprint=b"other"), AcceptedRun, Work())).value == RESULT


async def test_the_file_is_created_with_the_first_key_and_nobody_else_can_read_it(
    store: IdempotencyStore, path: Path
) -> None:
    await store.once(Caller(token="t", project="p"), AcceptedRun, Work())
    assert not path.parent.exists()
    await store.once(caller(), AcceptedRun, Work())
    assert path.exists()
    assert {each.stat().st_mode & 0o077 for each in (path.parent, *path.parent.iterdir())} == {0}


async def test_nothing_is_sent_when_the_key_cannot_be_stored(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store, work = IdempotencyStore(tmp_path / "file" / "idempotency.db"), Work()
    with pytest.raises(StorageUnavailable):
        await store.once(caller(), AcceptedRun, work)
    assert work.done == 0
    assert (await store.once(Caller(token="t", project="p"), AcceptedRun, work)).value == RESULT
    await store.close()


async def test_a_response_is_sent_even_if_the_file_is_full_and_cannot_store_it(store: IdempotencyStore) -> None:
    await store.once(caller(), AcceptedRun, Work())

    def limit() -> None:
        assert store._open_file is not None
        with store._open_file._engine.begin() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=8")

    async def fill_up() -> AcceptedRun:
        await asyncio.get_running_loop().run_in_executor(store._thread, limit)
        return AcceptedRun(run_id="x" * 100_000, thread_id="t")

    assert (await store.once(caller(b"large"), AcceptedRun, fill_up)).value.thread_id == "t"
    with pytest.raises(IdempotencyOutcomeUnknown):
        await store.once(caller(b"large"), AcceptedRun, Work())
    with pytest.raises(StorageFull):
        await store.once(caller(b"k" * 100_000), AcceptedRun, Work())


def test_a_key_is_in_use_while_the_platform_has_not_responded(ambient: PlatformStage) -> None:
    go_on = asyncio.Event()

    async def slowly(request: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return await ambient.platform._create(request)

    ambient.platform.next("create", slowly)
    headers, body = {"Idempotency-Key": "slow"}, {"task": "Say hello"}
    with ambient.api() as api, ambient.api(project=api.project) as other:
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(api.call, "create_session", body=body, headers=headers)
            eventually(lambda: ambient.platform.operations()[-1:], lambda seen: seen == ["create"])
            second = other.call("create_session", body=body, headers=headers)
            assert second.error == (409, "idempotency_key_in_use")
            ambient.platform._loop.call_soon_threadsafe(go_on.set)
            made = first.result(30).ok()
        again = other.call("create_session", body=body, headers=headers)
        assert (again.ok(), again.headers["Idempotency-Replayed"]) == (made, "true")


def test_another_server_on_the_same_data_replays_the_first_response(loop: Background, tmp_path: Path) -> None:
    headers, body, responses = {"Idempotency-Key": "k"}, {"task": "Say hello"}, []
    with FakePlatform() as platform:
        for _ in range(2):
            with platform_server(platform, loop, 30, tmp_path / "idempotency.db") as stage, stage.api("demo") as api:
                responses.append(api.call("create_session", body=body, headers=headers).ok())
        assert responses[0] == responses[1]
        assert platform.operations().count("create") == 1
