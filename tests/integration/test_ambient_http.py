"""HTTP/1.1 byte by byte: where an answer ends, which connections are kept, what a slow side costs the other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from app.backends.ambient import http
from app.backends.ambient.connection import BUFFERED_BYTES
from app.backends.ambient.http import Pool
from tests.support.server import LOCALHOST

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PAST_ALL_BUFFERS = 64 * 2**20


@asynccontextmanager
async def pool_before(*scripts: Script, seconds: float = 5) -> AsyncIterator[Pool]:
    """A pool before a server that plays one script for each connection, in order, and then closes it."""
    waiting = iter(scripts)

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await next(waiting)(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(play, LOCALHOST, 0) as server:
        pool = Pool(f"http://{LOCALHOST}:{server.sockets[0].getsockname()[1]}", seconds)
        yield pool
        await pool.close()


def saying(*answers: bytes) -> Script:
    """Send one of the answers for each request."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        await reader.read()

    return script


def closing_after(answer: bytes) -> Script:
    """Send an answer to the first request, and the end of the connection in place of the second."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await reader.readuntil(b"\r\n\r\n")

    return script


def cutting_after(answer: bytes) -> Script:
    """Send an answer and close."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    return script


async def until(condition: Callable[[], object]) -> None:
    """Let the loop go round until the condition holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what it waits for tells nobody
            await asyncio.sleep(0)


async def call(pool: Pool, method: str = "GET") -> tuple[int, str, bytes]:
    async with pool.exchange(method, "/x", {}) as answer:
        return answer.status, answer.media_type, await answer.read()


class TestWhereAnAnswerEnds:
    @pytest.mark.parametrize(
        ("script", "body"),
        [
            (saying(OK), b"{}"),
            (
                saying(CHUNKED + b"1;a=b\r\n{\r\n1\r\n}\r\n0\r\nX-End: 1\r\n\r\n"),
                b"{}",
            ),
            (cutting_after(b"HTTP/1.1 200 OK\r\n\r\n{}"), b"{}"),
            (cutting_after(b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n{}"), b"{}"),
            (saying(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK), b"{}"),
            (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), b""),
        ],
        ids=["length", "chunks", "end of the connection", "HTTP/1.0", "after interim answers", "empty"],
    )
    async def test_body_is_read_to_its_end(self, script: Script, body: bytes) -> None:
        async with pool_before(script) as pool:
            assert (await call(pool))[::2] == (200, body)

    @pytest.mark.parametrize("status", [204, 304])
    async def test_answer_ends_with_its_head_when_its_status_says_so(self, status: int) -> None:
        async with pool_before(saying(b"HTTP/1.1 %d None\r\n\r\n" % status)) as pool:
            assert await call(pool) == (status, "", b"")

    async def test_media_type_is_told_without_its_parameters(self) -> None:
        async with pool_before(saying(OK.replace(b"application/json", b"Application/JSON "))) as pool:
            assert (await call(pool))[1] == "application/json"

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"HTTP/1.1 200 OK\r\nContent-Le",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
            CHUNKED + b"2\r\n{}\r\n",
            CHUNKED + b"zz\r\n{}\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
            CHUNKED + b"2;" + b"x" * 200_000,
        ],
        ids=lambda answer: repr(answer[-24:]),
    )
    async def test_answer_that_breaks_off_or_is_not_http_is_a_connection_error(self, answer: bytes) -> None:
        async with pool_before(cutting_after(answer)) as pool:
            with pytest.raises(ConnectionError):
                await call(pool)

    async def test_head_without_end_is_refused_while_it_still_comes(self) -> None:
        async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n")
            while True:
                writer.write(b"X: y\r\n" * 1000)
                await writer.drain()

        async with pool_before(script) as pool:
            with pytest.raises(ConnectionError):
                await call(pool)


class TestWhichConnectionsAreKept:
    async def test_connection_serves_the_next_request(self) -> None:
        async with pool_before(saying(OK, OK, OK)) as pool:
            for method in ("GET", "POST", "GET"):
                assert (await call(pool, method))[0] == 200

    async def test_requests_at_the_same_time_have_a_connection_each(self) -> None:
        async with pool_before(saying(OK), saying(OK)) as pool:
            assert [body for _, _, body in await asyncio.gather(call(pool), call(pool))] == [b"{}", b"{}"]

    @pytest.mark.parametrize(
        "first",
        [
            saying(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")),
            saying(OK + OK),
            saying(OK + b"more"),
            cutting_after(OK),
        ],
        ids=["the server closes it", "unasked answer", "unasked bytes", "the server has closed it"],
    )
    async def test_connection_is_not_used_again_when(self, first: Script) -> None:
        async with pool_before(first, saying(OK)) as pool:
            assert (await call(pool))[2] == b"{}"
            await until(lambda: not any(connection.is_fit for connection in pool._idle))
            assert (await call(pool, "POST"))[2] == b"{}"

    async def test_unasked_bytes_spoil_a_connection_that_rests(self) -> None:
        resting, heard = asyncio.Event(), asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)
            await resting.wait()
            writer.write(OK)
            assert await reader.read() == b""
            heard.set()

        async with pool_before(script, saying(OK)) as pool:
            await call(pool)
            resting.set()
            await heard.wait()
            assert (await call(pool))[0] == 200

    async def test_request_is_sent_again_when_its_kept_connection_closes_and_it_may_be(self) -> None:
        async with pool_before(closing_after(OK), saying(OK)) as pool:
            await call(pool)
            assert (await call(pool, "GET"))[0] == 200

    async def test_request_that_may_have_had_an_effect_is_not_sent_again(self) -> None:
        async with pool_before(closing_after(OK), saying(OK)) as pool:
            await call(pool)
            with pytest.raises(ConnectionError):
                await call(pool, "POST")

    async def test_request_is_not_sent_again_once_its_answer_has_begun(self) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for answer in (OK, OK[:9]):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)

        async with pool_before(script, saying(OK)) as pool:
            await call(pool)
            with pytest.raises(ConnectionError):
                await call(pool)

    async def test_connection_without_work_is_let_go_after_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http, "KEPT_SECONDS", 0.05)
        left = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await saying(OK)(reader, writer)
            left.set()

        async with pool_before(script) as pool:
            await call(pool)
            await left.wait()

    async def test_nothing_is_sent_once_the_pool_is_closed(self) -> None:
        async with pool_before(saying(OK, OK)) as pool:
            await call(pool)
            await pool.close()
            with pytest.raises(ConnectionError):
                await call(pool)


class TestSlowSides:
    async def test_body_comes_in_pieces_and_waits_for_its_reader_without_end(self) -> None:
        sent = 0

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % PAST_ALL_BUFFERS)
            while sent < PAST_ALL_BUFFERS:
                writer.write(b"x" * 2**20)
                sent += 2**20
                await writer.drain()

        async with pool_before(script, seconds=0.2) as pool, pool.exchange("GET", "/x", {}) as answer:
            before = -1
            while before < sent:
                before = sent
                await asyncio.sleep(0.3)  # more than the time limit, which does not run meanwhile
            assert sent < PAST_ALL_BUFFERS
            sizes = [len(piece) async for piece in answer]
        assert sum(sizes) == PAST_ALL_BUFFERS
        assert max(sizes) <= 2 * BUFFERED_BYTES

    @pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\n", OK[:-1]])
    async def test_wait_for_the_server_ends_with_a_time_out(self, begun: bytes) -> None:
        async with pool_before(saying(begun), seconds=0.1) as pool:
            with pytest.raises(TimeoutError):
                await call(pool)

    async def test_each_request_has_the_whole_time_on_a_kept_connection(self) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(3):
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(0.3)
                writer.write(OK)

        async with pool_before(script, seconds=0.7) as pool:
            for _ in range(3):
                assert (await call(pool))[0] == 200

    async def test_connection_is_cut_when_its_reader_leaves_early(self) -> None:
        cut = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await saying(OK[:-1])(reader, writer)
            cut.set()

        async with pool_before(script) as pool:
            async with pool.exchange("GET", "/x", {}) as answer:
                assert answer.status == 200
            await cut.wait()

    async def test_connection_is_cut_when_its_request_is_cancelled(self) -> None:
        asked, cut = asyncio.Event(), asyncio.Event()

        async def script(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            asked.set()
            assert await reader.read() == b""
            cut.set()

        async with pool_before(script) as pool:
            task = asyncio.create_task(call(pool))
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await cut.wait()

    async def test_exchange_fails_when_the_pool_closes(self) -> None:
        async with pool_before(saying(b"")) as pool:
            task = asyncio.create_task(call(pool))
            await until(lambda: pool._busy)
            await pool.close()
            with pytest.raises(ConnectionError):
                await task


class TestWhatIsSent:
    async def test_request_is_one_head_and_its_body(self) -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            said = head + await reader.readexactly(2)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))
            await reader.read()

        async with pool_before(echo) as pool, pool.exchange("POST", "/a?b=c", {"X-A": "1"}, b"{}") as answer:
            lines = (await answer.read()).decode().split("\r\n")
        assert lines[0] == "POST /a?b=c HTTP/1.1"
        assert lines[1].startswith(f"Host: {LOCALHOST}:")
        assert lines[2:] == [
            "Accept: application/json",
            "Accept-Encoding: identity",
            "User-Agent: ambient-public-api",
            "Content-Length: 2",
            "X-A: 1",
            "",
            "{}",
        ]

    @pytest.mark.parametrize(
        ("target", "value"), [("/x\r\nX-B: 2", "1"), ("/x", "1\r\nX-B: 2"), ("/x", "1\n"), ("/x", "\0")]
    )
    async def test_control_characters_are_refused(self, target: str, value: str) -> None:
        async with pool_before() as pool:
            with pytest.raises(ValueError, match="control character"):
                pool.exchange("GET", target, {"X-A": value})
