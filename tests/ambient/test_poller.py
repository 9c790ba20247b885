"""Polling of logs: one poller for all who follow a session with the same token."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec
import pytest

import app.agui.export_splitter
from app.backends.ambient.api import PlatformApi
from app.backends.ambient.log_cache import LogCache
from app.backends.ambient.log_reader import LogReader
from app.backends.ambient.poller import LogPollers, extend
from app.backends.ambient.resources import Resource, Status
from app.errors import BackendUnavailable
from app.models.caller import Caller

CALLER, OTHER = Caller("token", "demo"), Caller("another token", "demo")


class Growing(PlatformApi):
    """A platform whose log has one event more at each reading, until it fails."""

    def __init__(self, fails_after: int = 10**6) -> None:
        self.readings = 0
        self.first = b'{"n":0}'
        self._fails_after = fails_after

    async def get_session(self, caller: Caller, session_id: str) -> Resource:  # noqa: ARG002 - the port's
        return Resource(status=Status(phase="Running"))

    async def export(self, caller: Caller, session_id: str) -> AsyncGenerator[bytes, None]:  # noqa: ARG002 - the port's
        self.readings += 1
        if self.readings > self._fails_after:
            raise BackendUnavailable
        yield export(self.first, *(b'{"n":%d}' % number for number in range(1, self.readings)))


def pollers_of(platform: PlatformApi, interval: float) -> LogPollers:
    return LogPollers(platform, LogReader(platform, LogCache(0)), interval)


def entries(*events: bytes) -> list[msgspec.Raw]:
    return [msgspec.Raw(event) for event in events]


def export(*events: bytes) -> bytes:
    return b'{"aguiEvents":[%b]}' % b",".join(events)


async def test_followers_with_the_same_token_share_a_poller() -> None:
    platform = Growing()
    pollers = pollers_of(platform, 0.001)
    log = await pollers.read(CALLER, "s1")
    with pollers.follow(CALLER, "s1", log) as one, pollers.follow(CALLER, "s1", log) as two:
        assert one is two
        with pollers.follow(OTHER, "s1", log) as other, pollers.follow(CALLER, "s2", log) as elsewhere:
            assert len({one, other, elsewhere}) == 3
        first, second = await asyncio.gather(one.after(log), two.after(log))
        assert first is second
        assert [bytes(event.raw) for event in first.events[:2]] == [b'{"n":0}', b'{"n":1}']
    assert pollers._pollers == {}


async def test_polling_stops_with_the_last_follower() -> None:
    platform = Growing()
    pollers = pollers_of(platform, 0)
    log = await pollers.read(CALLER, "s1")
    with pollers.follow(CALLER, "s1", log) as poller:
        await poller.after(log)
    before = platform.readings
    for _ in range(20):
        await asyncio.sleep(0)
    assert platform.readings == before


async def test_failure_reaches_every_follower_and_the_next_one_gets_a_new_poller() -> None:
    pollers = pollers_of(Growing(fails_after=1), 0)
    log = await pollers.read(CALLER, "s1")
    with pollers.follow(CALLER, "s1", log) as poller:
        for _ in range(2):
            with pytest.raises(BackendUnavailable):
                await poller.after(log)
        with pollers.follow(CALLER, "s1", log) as other:
            assert other is not poller


async def test_older_reading_is_dropped() -> None:
    pollers = pollers_of(Growing(), 1000)
    old = await pollers.read(CALLER, "s1")
    new = await pollers.read(CALLER, "s1")
    with pollers.follow(CALLER, "s1", new) as poller:
        poller.publish(old)
        assert poller.log is new


async def test_only_new_events_of_a_long_log_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.agui.export_splitter, "SLICE", 1)
    platform = Growing()
    pollers = pollers_of(platform, 0)
    log = await pollers.read(CALLER, "s1")
    with pollers.follow(CALLER, "s1", log) as poller:
        grown = await poller.after(log)
        assert grown.events[0] is log.events[0]
        assert [bytes(event.raw) for event in grown.events[:2]] == [b'{"n":0}', b'{"n":1}']
        platform.first = b'{"n":"another"}'
        while (rewritten := await poller.after(grown)).events[0] is grown.events[0]:
            grown = rewritten
        assert [bytes(event.raw) for event in rewritten.events[:2]] == [platform.first, b'{"n":1}']
        assert [event.position for event in rewritten.events] == [*range(1, len(rewritten.events) + 1)]


def test_only_new_entries_are_decoded() -> None:
    first = extend((), entries(b'{"a":1}', b"7", b'{"b":2}'), prefix=None, started=1, running=True)
    assert [(event.position, bytes(event.raw)) for event in first.events] == [(1, b'{"a":1}'), (2, b'{"b":2}')]
    same = extend(first.events, [], prefix=None, started=2, running=False)
    assert (same.events, same.running) == (first.events, False)
    more = extend(first.events, entries(b'{"c":3}'), prefix=None, started=2, running=True)
    assert more.events[0] is first.events[0]
    assert (more.events[2].position, bytes(more.events[2].raw)) == (3, b'{"c":3}')
