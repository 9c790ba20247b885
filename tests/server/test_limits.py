"""Rates, client addresses and bodies, without a server."""

import asyncio
from ipaddress import ip_network
from pathlib import Path

import pytest
from starlette.types import Message

from app.errors import PayloadTooLarge, RequestTimeout, StorageUnavailable, TooManyRequests
from app.factory import create_app
from app.models.limits import Rate, RequestsTaken
from app.server.connections import client_of
from app.server.ratelimit import RateLimiter
from app.server.request import ClientDisconnected, read_body
from app.server.shared_ratelimit import SharedRateLimiter
from tests.support.asgi import request_context
from tests.support.contract import CannedBackend, Sent, call, settings

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


class Sender:
    """A client that sends its body in these chunks, and then disconnects or sends nothing more."""

    def __init__(self, *chunks: bytes, ends: str = "complete") -> None:
        self.messages: list[Message] = [
            {"type": "http.request", "body": chunk, "more_body": ends != "complete" or number < len(chunks)}
            for number, chunk in enumerate(chunks, 1)
        ]
        if ends == "disconnect":
            self.messages.append({"type": "http.disconnect"})
        self.received = 0

    async def receive(self) -> Message:
        if self.received == len(self.messages):
            await asyncio.Event().wait()
        self.received += 1
        return self.messages[self.received - 1]


class TestReadBody:
    async def test_a_body_in_chunks_is_joined_when_it_fits(self) -> None:
        assert await read_body(request_context(), Sender(b"ab", b"", b"cd").receive, limit=4) == b"abcd"

    async def test_nothing_is_read_when_the_announced_length_is_too_large(self) -> None:
        sender = Sender(b"abcde")

        with pytest.raises(PayloadTooLarge):
            await read_body(request_context(("Content-Length", "5")), sender.receive, limit=4)

        assert sender.received == 0

    async def test_reading_stops_when_a_chunked_body_grows_too_large(self) -> None:
        sender = Sender(b"abc", b"de", b"f")

        with pytest.raises(PayloadTooLarge):
            await read_body(request_context(), sender.receive, limit=4)

        assert sender.received == 2

    async def test_a_body_that_stalls_times_out(self) -> None:
        with pytest.raises(RequestTimeout):
            await read_body(request_context(), Sender(b"ab", ends="silence").receive, limit=4, stall=0.01)

    async def test_a_body_that_never_stalls_and_never_ends_times_out(self) -> None:
        async def drip() -> Message:
            await asyncio.sleep(0.01)
            return {"type": "http.request", "body": b"x", "more_body": True}

        with pytest.raises(RequestTimeout):
            await read_body(request_context(), drip, limit=200, stall=0.5)

    async def test_a_client_that_disconnects_is_distinguished_from_one_that_is_done(self) -> None:
        with pytest.raises(ClientDisconnected):
            await read_body(request_context(), Sender(b"ab", ends="disconnect").receive, limit=4)


class TestRateLimiter:
    async def test_a_client_is_refused_when_its_burst_is_used_up(self) -> None:
        limiter = RateLimiter(rps=1, burst=3)
        for _ in range(3):
            await limiter.check(client_of("192.0.2.1"))

        with pytest.raises(TooManyRequests) as raised:
            await limiter.check(client_of("192.0.2.1"))

        assert raised.value.headers == {"Retry-After": "1"}

    async def test_another_client_is_served_when_one_is_refused(self) -> None:
        limiter = RateLimiter(rps=1, burst=1)
        await limiter.check(client_of("192.0.2.1"))

        await limiter.check(client_of("192.0.2.2"))

    async def test_a_client_is_served_again_when_its_bucket_has_refilled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 1000.0
        monkeypatch.setattr("throttled.utils.now_mono_f", lambda: now)
        limiter = RateLimiter(rps=2, burst=1)
        await limiter.check(client_of("192.0.2.1"))
        now += 0.4
        with pytest.raises(TooManyRequests):
            await limiter.check(client_of("192.0.2.1"))

        now += 0.2
        await limiter.check(client_of("192.0.2.1"))

    async def test_addresses_of_one_ipv6_network_share_a_bucket(self) -> None:
        limiter = RateLimiter(rps=1, burst=1)
        await limiter.check(client_of("2001:db8:0:1::1"))
        await limiter.check(client_of("2001:db8:0:2::1"))

        with pytest.raises(TooManyRequests):
            await limiter.check(client_of("2001:db8:0:1:ffff::2"))

    async def test_a_client_without_an_address_has_a_bucket_too(self) -> None:
        limiter = RateLimiter(rps=1, burst=1)
        await limiter.check(client_of("unknown"))

        with pytest.raises(TooManyRequests):
            await limiter.check(client_of("unknown"))

    async def test_the_table_of_clients_stays_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.server.ratelimit._MAX_CLIENTS", 2)
        limiter = RateLimiter(rps=1, burst=1)
        for number in range(1, 4):
            await limiter.check(client_of(f"192.0.2.{number}"))

        await limiter.check(client_of("192.0.2.1"))  # forgotten, so served
        with pytest.raises(TooManyRequests):
            await limiter.check(client_of("192.0.2.3"))


class Buckets:
    """A store that grants what is in its buckets, and counts how often it is asked."""

    def __init__(self, **full: int) -> None:
        self.left = full
        self.asked = 0
        self.is_away = False

    async def take(self, _client: bytes, rate: Rate, count: int) -> RequestsTaken:
        self.asked += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise StorageUnavailable
        left = self.left.setdefault("all", rate.burst)
        taken = min(left, count)
        self.left["all"] -= taken
        return RequestsTaken(taken, wait=0 if taken else 7.5)


class TestSharedRateLimiter:
    async def test_servers_take_from_one_bucket_many_requests_at_a_time(self) -> None:
        store = Buckets()
        one, other = (SharedRateLimiter(20, 20, store.take, kind="key") for _ in range(2))
        for limiter in (one, other):
            await asyncio.gather(*(limiter.check("a") for _ in range(10)))
        assert store.asked == 10
        for limiter in (one, other, one):
            with pytest.raises(TooManyRequests) as raised:
                await limiter.check("a")
            assert raised.value.headers == {"Retry-After": "8"}
        assert store.asked == 12  # who has been refused does not reach the store until it may be served

    async def test_a_server_limits_by_itself_while_the_store_is_away(self) -> None:
        store = Buckets()
        store.is_away = True
        limiter = SharedRateLimiter(1, 2, store.take, kind="key")
        await limiter.check("a")
        await limiter.check("a")
        with pytest.raises(TooManyRequests):
            await limiter.check("a")
        assert store.asked == 1


class TestClientAddress:
    @pytest.mark.parametrize(
        ("peer", "forwarded", "address"),
        [
            ("198.51.100.7", [], "198.51.100.7"),
            ("198.51.100.7", ["203.0.113.9"], "198.51.100.7"),
            ("10.0.0.1", [], "10.0.0.1"),
            ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", ["1.1.1.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            ("10.0.0.1", ["1.1.1.1", "203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", ["1.1.1.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
            ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
            ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
            ("fd00::1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ],
    )
    def test_forwarded_addresses_count_only_from_trusted_proxies(
        self, peer: str, forwarded: list[str], address: str
    ) -> None:
        context = request_context(
            *(("X-Forwarded-For", value) for value in forwarded), client=(peer, 1), trusted_proxies=TRUSTED
        )

        assert context.client_address == address

    def test_the_header_is_ignored_when_no_proxy_is_trusted(self) -> None:
        assert request_context(("X-Forwarded-For", "203.0.113.9")).client_address == "198.51.100.7"

    def test_a_connection_without_a_peer_is_unknown(self) -> None:
        context = request_context(("X-Forwarded-For", "203.0.113.9"), client=None, trusted_proxies=TRUSTED)

        assert context.client_address == "unknown"


async def test_a_key_has_a_bucket_of_its_own_for_all_addresses(tmp_path: Path) -> None:
    app = create_app(settings(tmp_path, KEY_RATE_LIMIT_RPS="1", KEY_RATE_LIMIT_BURST="1"), CannedBackend())
    other = Sent("GET", "/v1/whoami", (("Authorization", "Bearer another"), ("X-Ambient-Project", "demo")))
    answers = [await call(app, sent) for sent in (Sent("GET", "/v1/whoami"), Sent("GET", "/v1/whoami"), other)]
    assert [answer.status for answer in answers] == [200, 429, 200]
    assert answers[1].header("retry-after") == "1"


async def test_nothing_long_is_remembered_of_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clients: list[str] = []

    async def check(_self: RateLimiter, client: str) -> None:
        clients.append(client)

    monkeypatch.setattr(RateLimiter, "check", check)
    token = "x" * 60_000
    headers = (("Authorization", f"Bearer {token}"), ("X-Ambient-Project", "demo"))
    answer = await call(create_app(settings(tmp_path), CannedBackend()), Sent("GET", "/v1/whoami", headers))
    assert answer.status == 200
    assert max(map(len, clients)) <= 64
