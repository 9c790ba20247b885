"""HTTP to the platform byte by byte: which connections are kept, what a slow or a broken side costs the other."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from app.httpclient import h1
from app.httpclient.pool import Pool
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


async def fetch(pool: Pool, method: str = "GET") -> tuple[int, str, bytes]:
    return await pool.fetch(method, "/x", {})


class TestAnswers:
    async def test_answer_has_a_status_a_media_type_and_a_body(self) -> None:
        async with pool_before(saying(OK.replace(b"application/json", b"Application/JSON "))) as pool:
            assert await fetch(pool) == (200, "application/json", b"{}")

    async def test_answer_without_a_media_type_has_an_empty_one(self) -> None:
        async with pool_before(saying(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")) as pool:
            assert await fetch(pool) == (404, "", b"")

    async def test_body_is_taken_as_it_came_when_it_says_that_it_is_packed(self) -> None:
        packed = OK.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
        async with pool_before(saying(packed)) as pool:
            assert (await fetch(pool))[2] == b"{}"

    async def test_interim_answers_are_passed_over(self) -> None:
        hints = b"HTTP/1.1 103 Early Hints\r\nContent-Type: text/html\r\n\r\n"
        async with pool_before(saying(b"HTTP/1.1 100 Continue\r\n\r\n" + hints + OK, OK)) as pool:
            assert await fetch(pool) == (200, "application/json", b"{}")
            assert (await fetch(pool))[0] == 200

    async def test_answer_that_comes_byte_by_byte_is_the_same(self) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            for byte in CHUNKED + b"1\r\n{\r\n1\r\n}\r\n0\r\nX-Trailer: y\r\n\r\n":
                writer.write(bytes([byte]))
                await writer.drain()
            await saying(OK)(reader, writer)

        async with pool_before(script) as pool:
            assert await fetch(pool) == (200, "", b"{}")
            assert (await fetch(pool))[0] == 200

    async def test_answers_that_come_at_the_same_time_are_told_apart(self) -> None:
        bodies, both = [b"a" * 2000, b"b" * 2000], asyncio.Barrier(2)

        def slowly(body: bytes) -> Script:
            async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n")
                for start in range(0, 2000, 500):
                    writer.write(body[start : start + 500])
                    await writer.drain()
                    await both.wait()

            return script

        async with pool_before(*map(slowly, bodies)) as pool:
            answers = await asyncio.gather(pool.fetch("GET", "/", {}), pool.fetch("GET", "/", {}))
        assert sorted(answer.body for answer in answers) == bodies

    async def test_answer_of_untold_length_ends_with_its_connection(self) -> None:
        answer = b"HTTP/1.1 200 OK\r\n\r\n{}"
        async with pool_before(cutting_after(answer), cutting_after(answer)) as pool:
            assert (await fetch(pool))[2] == b"{}"
            assert await everything(pool) == b"{}"

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"HTTP/1.1 200 OK\r\nContent-Le",
            OK[:-1],
            CHUNKED + b"2\r\n{}\r\n",
            CHUNKED + b"zz\r\n{}\r\n",
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2**20,
            b"HTTP/1.1 100 Continue\r\n\r\n" * 2**16,
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        ],
        ids=lambda answer: repr(answer[-24:]),
    )
    async def test_answer_that_breaks_off_or_is_not_http_is_an_error(self, answer: bytes) -> None:
        async with pool_before(cutting_after(answer), cutting_after(answer)) as pool:
            with pytest.raises(ConnectionError):
                await fetch(pool)


class TestConnections:
    async def test_connection_serves_the_next_request(self) -> None:
        async with pool_before(saying(OK, OK, OK)) as pool:
            for method in ("GET", "POST", "GET"):
                assert (await fetch(pool, method))[0] == 200

    async def test_request_is_sent_again_when_its_kept_connection_closes_and_it_may_be(self) -> None:
        async with pool_before(closing_after(OK), saying(OK)) as pool:
            await fetch(pool)
            assert (await fetch(pool))[0] == 200

    async def test_request_that_may_have_had_an_effect_is_not_sent_again(self) -> None:
        async with pool_before(closing_after(OK), saying(OK)) as pool:
            await fetch(pool)
            with pytest.raises(ConnectionError):
                await fetch(pool, "POST")

    @pytest.mark.parametrize(
        "answer",
        [
            OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
            OK.replace(b"1.1", b"1.0"),
            OK + OK,
            OK + b"SSH-2.0-OpenSSH_9.6\r\n",
        ],
        ids=lambda answer: repr(answer[-24:]),
    )
    async def test_connection_is_not_kept_when_it_cannot_be_trusted_with_another_request(self, answer: bytes) -> None:
        async with pool_before(saying(answer, b"never"), saying(OK)) as pool:
            assert (await fetch(pool))[2] == b"{}"
            assert (await fetch(pool, "POST"))[2] == b"{}"

    async def test_connection_without_work_is_closed_after_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        closed = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await saying(OK)(reader, writer)
            closed.set()

        monkeypatch.setattr(h1, "KEPT_SECONDS", 0.1)
        async with pool_before(script, saying(OK)) as pool:
            await fetch(pool)
            await closed.wait()
            assert (await fetch(pool, "POST"))[0] == 200

    async def test_connection_is_cut_when_the_caller_of_a_request_is_gone(self) -> None:
        asked, cut = asyncio.Event(), asyncio.Event()

        async def script(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            asked.set()
            assert await reader.read() == b""
            cut.set()

        async with pool_before(script) as pool:
            task = asyncio.create_task(fetch(pool))
            await asked.wait()
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
            await cut.wait()

    async def test_nothing_is_sent_once_the_pool_is_closed(self) -> None:
        async with pool_before(saying(OK, OK)) as pool:
            await fetch(pool)
            await pool.close()
            with pytest.raises(ConnectionError):
                await fetch(pool)


class TestTimeLimits:
    @pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\n", OK[:-1]])
    async def test_wait_for_the_server_ends_with_a_time_out(self, begun: bytes) -> None:
        async with pool_before(saying(begun), saying(begun), seconds=0.1) as pool:
            with pytest.raises(TimeoutError):
                await fetch(pool)
            with pytest.raises(TimeoutError):
                await everything(pool)

    async def test_each_request_has_the_whole_time_on_a_kept_connection(self) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(3):
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(0.3)
                writer.write(OK)

        async with pool_before(script, seconds=0.7) as pool:
            for _ in range(3):
                assert (await fetch(pool))[0] == 200


class TestPieces:
    async def test_head_is_there_before_the_body(self) -> None:
        cut = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await saying(OK[:-1])(reader, writer)
            cut.set()

        async with pool_before(script) as pool:
            async with pool.exchange("/x", {}) as answer:
                assert (answer.status, answer.media_type) == (200, "application/json")
            await cut.wait()  # since the reader has left before the end

    async def test_body_waits_for_its_reader_whose_pause_is_no_time_out(self) -> None:
        sent = 0

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % PAST_ALL_BUFFERS)
            while sent < PAST_ALL_BUFFERS:
                writer.write(b"x" * 2**20)
                sent += 2**20
                await writer.drain()

        async with pool_before(script, seconds=0.2) as pool, pool.exchange("/x", {}) as answer:
            before = -1
            while before < sent:
                before = sent
                await asyncio.sleep(0.3)  # more than the time limit
            assert sent < PAST_ALL_BUFFERS
            sizes = [len(piece) async for piece in answer]
        assert sum(sizes) == PAST_ALL_BUFFERS
        assert max(sizes) <= 2**20

    async def test_body_that_breaks_off_is_an_error(self) -> None:
        async with pool_before(cutting_after(OK[:-1])) as pool:
            with pytest.raises(ConnectionError):
                await everything(pool)


async def everything(pool: Pool) -> bytes:
    async with pool.exchange("/x", {}) as answer:
        return b"".join([piece async for piece in answer])


class TestWhatIsSent:
    async def test_request_says_what_it_is_told_and_nothing_of_its_own_accord(self) -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            said = await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(2)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))
            await reader.read()

        async with pool_before(echo) as pool:
            reply = await pool.fetch("POST", "/a?b=c", {"X-A": "1"}, b"{}")
        line, *headers, blank, body = reply.body.decode().split("\r\n")
        assert (line, blank, body) == ("POST /a?b=c HTTP/1.1", "", "{}")
        assert {header.lower() for header in headers if not header.lower().startswith("host:")} == {
            "accept: application/json",
            "accept-encoding: identity",
            "user-agent: ambient-public-api",
            "content-length: 2",
            "x-a: 1",
        }

    @pytest.mark.parametrize("value", ["1\r\nX-B: 2", "1\n", "\0"])
    async def test_control_characters_in_a_header_are_refused(self, value: str) -> None:
        async with pool_before() as pool:
            with pytest.raises(ValueError, match="header"):
                await pool.fetch("GET", "/x", {"X-A": value})


async def test_a_certificate_counts_if_the_file_of_trusted_ones_names_its_issuer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(LOCALHOST).configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "trusted.pem"))
    script = saying(OK)
    async with await asyncio.start_server(script, LOCALHOST, 0, ssl=context) as server:
        url = f"https://{LOCALHOST}:{server.sockets[0].getsockname()[1]}"
        stranger = Pool(url, 5)
        with pytest.raises(ssl.SSLCertVerificationError):
            await stranger.fetch("GET", "/", {})
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
        friend = Pool(url, 5)
        assert (await friend.fetch("GET", "/", {})).body == b"{}"
        for pool in (stranger, friend):
            await pool.close()
