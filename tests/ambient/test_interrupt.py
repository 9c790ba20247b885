"""Interrupts on the platform: the signal is always sent, its effect is read from the log."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import web

from app.backends.ambient.backend import AmbientBackend
from app.errors import BackendError, BackendUnavailable, SessionBusy
from app.models.runs import InterruptResult, MessageCreate, OnBusy, RunCreate, RunMessage, RunStatus
from tests.support import platform_failures as failures
from tests.support.platform import FakePlatform
from tests.support.platform_backend import CALLER, caught_up, connected

HELLO = MessageCreate(content="hello")
SENT = "Interrupt signal sent"


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with FakePlatform() as platform:
        platform.add_session("demo", "s1")
        platform.runner.pace = "open"
        yield platform


@pytest.fixture
async def backend(platform: FakePlatform) -> AsyncIterator[AmbientBackend]:
    async with connected(platform.url, interrupt_timeout=60.0, poll_interval=0.01) as backend:
        yield backend


@pytest.fixture
async def hasty(platform: FakePlatform) -> AsyncIterator[AmbientBackend]:
    async with connected(platform.url, interrupt_timeout=0.3, poll_interval=0.01) as backend:
        yield backend


async def statuses(backend: AmbientBackend) -> list[RunStatus]:
    return [run.status for run in (await backend.runs.list_runs(CALLER, "s1", status=None)).runs]


async def test_interrupt_is_true_when_the_end_of_the_run_is_seen(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    await backend.runs.send_message(CALLER, "s1", HELLO)
    assert await backend.runs.interrupt_session(CALLER, "s1") == InterruptResult(message=SENT, interrupted=True)
    assert platform.last("interrupt").body == b""
    assert await statuses(backend) == [RunStatus.INTERRUPTED]


async def test_interrupt_is_true_when_the_stream_tells_the_end_and_the_log_cannot_be_read(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    async def end_run(_request: web.Request) -> web.StreamResponse:
        await caught_up(platform)
        platform.always("export", failures.error(500, "Failed to read session events"))
        platform.runner.finish("s1", is_error=True)
        return web.json_response({"message": SENT})

    platform.next("interrupt", end_run)
    await backend.runs.send_message(CALLER, "s1", HELLO)
    assert (await backend.runs.interrupt_session(CALLER, "s1")).interrupted is True


async def test_interrupt_of_a_session_that_is_followed_reads_no_log(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    run_id = (await backend.runs.send_message(CALLER, "s1", HELLO)).value.run_id
    waiting = asyncio.create_task(backend.runs.get_run(CALLER, "s1", run_id, wait=20))
    await caught_up(platform)
    platform.always("export", failures.error(500, "Failed to read session events"))
    assert (await backend.runs.interrupt_session(CALLER, "s1")).interrupted is True
    assert platform.operations().count("events") == 1
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)  # it reads the log at the end, which it may have tried
    platform._always.clear()
    assert (await backend.runs.get_run(CALLER, "s1", run_id)).status is RunStatus.INTERRUPTED


async def test_interrupt_ends_the_active_run_alone_when_others_are_queued(backend: AmbientBackend) -> None:
    for _ in range(3):
        await backend.runs.send_message(CALLER, "s1", HELLO)
    assert (await backend.runs.interrupt_session(CALLER, "s1")).interrupted is True
    assert await statuses(backend) == [RunStatus.INTERRUPTED, RunStatus.RUNNING, RunStatus.QUEUED]


async def test_interrupt_is_none_when_the_run_does_not_end_in_time(
    platform: FakePlatform, hasty: AmbientBackend
) -> None:
    platform.runner.obeys = False
    await hasty.runs.send_message(CALLER, "s1", HELLO)
    assert await hasty.runs.interrupt_session(CALLER, "s1") == InterruptResult(message=SENT, interrupted=None)


async def test_interrupt_is_false_and_sent_when_nothing_runs(platform: FakePlatform, backend: AmbientBackend) -> None:
    await backend.runs.send_message(CALLER, "s1", HELLO)
    platform.runner.finish("s1")
    assert await backend.runs.interrupt_session(CALLER, "s1") == InterruptResult(message=SENT, interrupted=False)
    assert "interrupt" in platform.operations()


async def test_interrupt_is_false_when_only_another_thread_runs(backend: AmbientBackend) -> None:
    await backend.runs.send_message(CALLER, "s1", HELLO)
    await backend.runs.interrupt_session(CALLER, "s1")
    other = RunCreate(messages=[RunMessage(role="user", content="hi")], thread_id="other")
    await backend.runs.create_run(CALLER, "s1", other)
    assert (await backend.runs.interrupt_session(CALLER, "s1")).interrupted is False
    assert await statuses(backend) == [RunStatus.INTERRUPTED, RunStatus.RUNNING]


async def test_interrupt_waits_for_a_pending_run_when_none_is_in_the_log(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    platform.runner.pace = "wait"
    await backend.runs.send_message(CALLER, "s1", HELLO)

    async def end_run(_request: web.Request) -> web.StreamResponse:
        platform.runner.begin("s1")
        platform.runner.finish("s1", is_error=True)
        return web.json_response({"message": SENT})

    platform.next("interrupt", end_run)
    assert (await backend.runs.interrupt_session(CALLER, "s1")).interrupted is True


@pytest.mark.parametrize(
    "text",
    ['{"detail":"No active session manager"}', '{"detail":"No active session for thread s1"}', "No active session"],
)
async def test_interrupt_is_false_when_the_runner_has_no_active_session(
    platform: FakePlatform, backend: AmbientBackend, text: str
) -> None:
    platform.always("interrupt", failures.error(500, text))
    assert await backend.runs.interrupt_session(CALLER, "s1") == InterruptResult(message=SENT, interrupted=False)


async def test_interrupt_is_false_when_nothing_ever_ran(backend: AmbientBackend) -> None:
    assert (await backend.runs.interrupt_session(CALLER, "s1")).interrupted is False


@pytest.mark.parametrize("phase", ["Pending", "Stopping", "Stopped", "Failed"])
async def test_interrupt_is_false_when_the_runner_cannot_be_reached(
    platform: FakePlatform, backend: AmbientBackend, phase: str
) -> None:
    platform.set_phase("demo", "s1", phase)
    assert await backend.runs.interrupt_session(CALLER, "s1") == InterruptResult(message=SENT, interrupted=False)


@pytest.mark.parametrize("reaction", [failures.html, failures.redirect, failures.respond(202, {"error": "failed"})])
async def test_interrupt_is_a_502_when_the_response_is_unusable(
    platform: FakePlatform, backend: AmbientBackend, reaction: failures.Reaction
) -> None:
    platform.always("interrupt", reaction)
    with pytest.raises(BackendUnavailable):
        await backend.runs.interrupt_session(CALLER, "s1")


async def test_interrupt_is_sent_and_none_when_the_log_cannot_be_read(
    platform: FakePlatform, hasty: AmbientBackend
) -> None:
    await hasty.runs.send_message(CALLER, "s1", HELLO)
    platform.always("export", failures.error(500, "Failed to read session events"))
    assert (await hasty.runs.interrupt_session(CALLER, "s1")).interrupted is None
    assert platform.operations()[-1] == "interrupt"


async def test_interrupt_reads_the_log_again_after_an_error(platform: FakePlatform, backend: AmbientBackend) -> None:
    async def end_run(request: web.Request) -> web.StreamResponse:
        platform.next("export", failures.error(500, "x"), failures.html, failures.redirect)
        return await platform._interrupt(request)

    platform.next("interrupt", end_run)
    await backend.runs.send_message(CALLER, "s1", HELLO)
    assert (await backend.runs.interrupt_session(CALLER, "s1")).interrupted is True
    assert platform.operations().count("export") > 3


async def test_interrupting_message_is_sent_after_the_signal_when_a_run_is_active(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    await backend.runs.send_message(CALLER, "s1", HELLO)
    await backend.runs.send_message(CALLER, "s1", MessageCreate(content="instead", on_busy=OnBusy.INTERRUPT))
    assert platform.operations()[-2:] == ["interrupt", "run"]
    assert await statuses(backend) == [RunStatus.INTERRUPTED, RunStatus.RUNNING]


async def test_interrupting_message_sends_no_signal_when_nothing_runs(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    await backend.runs.send_message(CALLER, "s1", MessageCreate(content="first", on_busy=OnBusy.INTERRUPT))
    assert platform.operations() == ["get", "export", "run"]


async def test_interrupting_message_is_not_sent_when_the_signal_fails(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    await backend.runs.send_message(CALLER, "s1", HELLO)
    platform.always("interrupt", failures.error(502, "x"))
    with pytest.raises(BackendError):
        await backend.runs.send_message(CALLER, "s1", MessageCreate(content="instead", on_busy=OnBusy.INTERRUPT))
    assert platform.operations().count("run") == 1


async def test_pending_run_makes_the_session_busy(platform: FakePlatform, backend: AmbientBackend) -> None:
    platform.runner.pace = "wait"
    await backend.runs.send_message(CALLER, "s1", HELLO)
    with pytest.raises(SessionBusy):
        await backend.runs.send_message(CALLER, "s1", MessageCreate(content="again", on_busy=OnBusy.REJECT))
    assert platform.operations().count("run") == 1
