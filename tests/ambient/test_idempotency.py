"""First answers before a platform: kept in this server's own file, through restarts and crashes."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from app.backends.ambient.idempotency import RETENTION_SECONDS, IdempotencyStore
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
from tests.support.deadline import eventually
from tests.support.platform import FakePlatform
from tests.support.server import Background
from tests.support.stage import PlatformStage, before

ANSWER = AcceptedRun(run_id="r", thread_id="t")


class Work:
    """Something to be done once, and how often it was."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.done = 0
        self.error = error

    async def __call__(self) -> AcceptedRun:
        self.done += 1
        if self.error:
            raise self.error
        return ANSWER


def caller(key: bytes = b"key", fingerprint: bytes = b"print") -> Caller:
    return Caller(token="t", project="p", idempotency_key=IdempotencyKey(key, fingerprint))


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., IdempotencyStore]:
    def make(**options: Any) -> IdempotencyStore:
        return IdempotencyStore(tmp_path / "data" / "answers.db", **options)

    return make


async def test_an_answer_is_kept_over_a_restart(make: Callable[..., IdempotencyStore]) -> None:
    work = Work()
    for number in range(2):
        answers = make()
        assert await answers.once(caller(), AcceptedRun, work) == Idempotent(ANSWER, replayed=bool(number))
        await answers.close()
    assert work.done == 1


async def test_an_answer_is_forgotten_after_a_day(make: Callable[..., IdempotencyStore]) -> None:
    now, work = 1000.0, Work()
    answers = make(clock=lambda: now)
    await answers.once(caller(), AcceptedRun, work)
    now += RETENTION_SECONDS - 1
    with pytest.raises(IdempotencyKeyReused):
        await answers.once(caller(fingerprint=b"other"), AcceptedRun, work)
    now += 1
    await answers.once(caller(b"another"), AcceptedRun, work)
    await answers.once(caller(fingerprint=b"other"), AcceptedRun, work)
    await answers.close()
    assert work.done == 3


async def test_a_request_that_was_cut_off_is_not_repeated(make: Callable[..., IdempotencyStore]) -> None:
    now = 1000.0
    answers = make(clock=lambda: now)
    with pytest.raises(asyncio.CancelledError):
        await answers.once(caller(), AcceptedRun, Work(asyncio.CancelledError()))
    await answers.close()
    answers, work = make(clock=lambda: now), Work()
    with pytest.raises(IdempotencyOutcomeUnknown):
        await answers.once(caller(), AcceptedRun, work)
    with pytest.raises(IdempotencyKeyReused):
        await answers.once(caller(fingerprint=b"other"), AcceptedRun, work)
    assert work.done == 0
    now += RETENTION_SECONDS
    assert (await answers.once(caller(), AcceptedRun, work)).value == ANSWER
    await answers.close()


async def test_an_error_is_not_kept(make: Callable[..., IdempotencyStore]) -> None:
    answers = make()
    with pytest.raises(BackendUnavailable):
        await answers.once(caller(), AcceptedRun, Work(BackendUnavailable()))
    assert (await answers.once(caller(fingerprint=b"other"), AcceptedRun, Work())).value == ANSWER
    await answers.close()


async def test_nobody_else_can_read_the_answers(make: Callable[..., IdempotencyStore], tmp_path: Path) -> None:
    answers = make()
    await answers.once(caller(), AcceptedRun, Work())
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "data", *(tmp_path / "data").iterdir())} == {0}
    await answers.close()


async def test_nothing_is_sent_when_the_key_cannot_be_written_down(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    answers, work = IdempotencyStore(tmp_path / "file" / "answers.db"), Work()
    with pytest.raises(StorageUnavailable):
        await answers.once(caller(), AcceptedRun, work)
    assert work.done == 0
    assert (await answers.once(Caller(token="t", project="p"), AcceptedRun, work)).value == ANSWER
    await answers.close()


async def test_a_full_file_is_told_and_an_answer_that_cannot_be_kept_is_given_all_the_same(
    make: Callable[..., IdempotencyStore],
) -> None:
    answers = make()
    await answers.once(caller(), AcceptedRun, Work())
    assert answers._connection is not None
    pages = 8

    async def fill_up() -> AcceptedRun:
        await asyncio.get_running_loop().run_in_executor(answers._thread, limit)
        return AcceptedRun(run_id="x" * 100_000, thread_id="t")

    def limit() -> None:
        assert answers._connection is not None
        answers._connection.execute(f"PRAGMA max_page_count={pages}")

    assert (await answers.once(caller(b"large"), AcceptedRun, fill_up)).value.thread_id == "t"
    with pytest.raises(IdempotencyOutcomeUnknown):
        await answers.once(caller(b"large"), AcceptedRun, Work())
    with pytest.raises(StorageFull):
        await answers.once(caller(b"k" * 100_000), AcceptedRun, Work())
    await answers.close()


def test_a_key_is_in_use_while_the_platform_has_not_answered(platform: PlatformStage) -> None:
    let_go = asyncio.Event()

    async def slowly(request: web.Request) -> web.StreamResponse:
        await let_go.wait()
        return await platform.platform._create(request)

    platform.platform.next("create", slowly)
    headers, body = {"Idempotency-Key": "slow"}, {"task": "Say hello"}
    with platform.api() as api, platform.api(project=api.project) as other:
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(api.call, "create_session", body=body, headers=headers)
            eventually(lambda: platform.platform.operations()[-1:], lambda seen: seen == ["create"])
            second = other.call("create_session", body=body, headers=headers)
            assert second.error == (409, "idempotency_key_in_use")
            platform.platform._loop.call_soon_threadsafe(let_go.set)
            made = first.result(30).ok()
        again = other.call("create_session", body=body, headers=headers)
        assert (again.ok(), again.headers["Idempotency-Replayed"]) == (made, "true")


def test_another_server_on_the_same_data_gives_the_first_answer_again(loop: Background, tmp_path: Path) -> None:
    headers, body, answers = {"Idempotency-Key": "k"}, {"task": "Say hello"}, []
    with FakePlatform() as platform:
        for _ in range(2):
            with before(platform, loop, 30, tmp_path / "answers.db") as stage, stage.api("demo") as api:
                answers.append(api.call("create_session", body=body, headers=headers).ok())
        assert answers[0] == answers[1]
        assert platform.operations().count("create") == 1
