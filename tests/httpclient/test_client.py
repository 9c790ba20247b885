"""The HTTP client, byte by byte: responses, reuse of connections, time limits, back-pressure."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from app.httpclient import h1
from app.httpclient.client import HttpClient
from tests.support.server import LOCALHOST

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PAST_ALL_BUFFERS = 64 * 2**20


@asynccontextmanager
async def client_of(*scripts: Script, seconds: float = 5, **options: Any) -> AsyncIterator[HttpClient]:
    """A client of a server that plays one script for each connection, in order, and then closes it."""
    waiting = iter(scripts)

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await next(waiting)(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(play, LOCALHOST, 0) as server:
        client = HttpClient(f"http://{LOCALHOST}:{server.sockets[0].getsockname()[1]}", seconds, **options)
        yield client
        await client.close()


def sending(*responses: bytes) -> Script:
    """Send one of the responses for each request."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for response in responses:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(response)
            await writer.drain()
        await reader.read()

    return script


def closing_at_the_next_request(response: bytes) -> Script:
    """Send a response to the first request, and close the connection at the second."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        await reader.readuntil(b"\r\n\r\n")

    return script


def closing_after(response: bytes) -> Script:
    """Send a response and close the connection."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)

    return script


async def fetch(client: HttpClient, method: str = "GET") -> tuple[int, str, bytes]:
    return (await client.request(method, "/x", {}))[:3]


class TestResponses:
    async def test_parameters_of_the_media_type_are_apart(self) -> None:
        async with client_of(sending(OK, OK.replace(b"; charset=utf-8", b""))) as client:
            for parameters in ("charset=utf-8", ""):
                response = await client.request("GET", "/x", {})
                assert (response.media_type, response.media_parameters) == ("application/json", parameters)

    async def test_response_has_a_status_a_media_type_and_a_body(self) -> None:
        async with client_of(sending(OK.replace(b"application/json", b"Application/JSON "))) as client:
            assert await fetch(client) == (200, "application/json", b"{}")

    async def test_response_without_a_media_type_has_an_empty_one(self) -> None:
        async with client_of(sending(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")) as client:
            assert await fetch(client) == (404, "", b"")

    async def test_compressed_body_is_returned_as_it_is(self) -> None:
        packed = OK.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
        async with client_of(sending(packed)) as client:
            assert (await fetch(client))[2] == b"{}"

    async def test_interim_responses_are_skipped(self) -> None:
        hints = b"HTTP/1.1 103 Early Hints\r\nContent-Type: text/html\r\n\r\n"
        async with client_of(sending(b"HTTP/1.1 100 Continue\r\n\r\n" + hints + OK, OK)) as client:
            assert await fetch(client) == (200, "application/json", b"{}")
            assert (await fetch(client))[0] == 200

    async def test_response_may_arrive_byte_by_byte(self) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            for byte in CHUNKED + b"1\r\n{\r\n1\r\n}\r\n0\r\nX-Trailer: y\r\n\r\n":
                writer.write(bytes([byte]))
                await writer.drain()
            await sending(OK)(reader, writer)

        async with client_of(script) as client:
            assert await fetch(client) == (200, "", b"{}")
            assert (await fetch(client))[0] == 200

    async def test_concurrent_responses_do_not_mix(self) -> None:
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

        async with client_of(*map(slowly, bodies)) as client:
            responses = await asyncio.gather(client.request("GET", "/", {}), client.request("GET", "/", {}))
        assert sorted(response.body for response in responses) == bodies

    async def test_response_without_a_length_ends_with_its_connection(self) -> None:
        unbounded = b"HTTP/1.1 200 OK\r\n\r\n{}"
        async with client_of(closing_after(unbounded), closing_after(unbounded)) as client:
            assert (await fetch(client))[2] == b"{}"
            assert await stream(client) == b"{}"

    @pytest.mark.parametrize(
        "response",
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
        ids=lambda response: repr(response[-24:]),
    )
    async def test_truncated_response_or_other_protocol_is_an_error(self, response: bytes) -> None:
        async with client_of(closing_after(response), closing_after(response)) as client:
            with pytest.raises(ConnectionError):
                await fetch(client)


class TestConnections:
    async def test_connection_serves_the_next_request(self) -> None:
        async with client_of(sending(OK, OK, OK)) as client:
            for method in ("GET", "POST", "GET"):
                assert (await fetch(client, method))[0] == 200

    async def test_get_is_sent_again_when_its_reused_connection_is_closed(self) -> None:
        async with client_of(closing_at_the_next_request(OK), sending(OK)) as client:
            await fetch(client)
            assert (await fetch(client))[0] == 200

    async def test_post_is_not_sent_again(self) -> None:
        async with client_of(closing_at_the_next_request(OK), sending(OK)) as client:
            await fetch(client)
            with pytest.raises(ConnectionError):
                await fetch(client, "POST")

    @pytest.mark.parametrize(
        "response",
        [
            OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
            OK.replace(b"1.1", b"1.0"),
            OK + OK,
            OK + b"SSH-2.0-OpenSSH_9.6\r\n",
        ],
        ids=lambda response: repr(response[-24:]),
    )
    async def test_connection_is_not_reused_after_a_response_that_forbids_it_or_has_a_surplus(
        self, response: bytes
    ) -> None:
        async with client_of(sending(response, b"never"), sending(OK)) as client:
            assert (await fetch(client))[2] == b"{}"
            assert (await fetch(client, "POST"))[2] == b"{}"

    async def test_idle_connection_is_closed_after_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        closed = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await sending(OK)(reader, writer)
            closed.set()

        monkeypatch.setattr(h1, "IDLE_SECONDS", 0.1)
        async with client_of(script, sending(OK)) as client:
            await fetch(client)
            await closed.wait()
            assert (await fetch(client, "POST"))[0] == 200

    async def test_connection_is_closed_when_its_request_is_cancelled(self) -> None:
        sent, closed = asyncio.Event(), asyncio.Event()

        async def script(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            sent.set()
            assert await reader.read() == b""
            closed.set()

        async with client_of(script) as client:
            task = asyncio.create_task(fetch(client))
            await sent.wait()
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
            await closed.wait()

    async def test_closed_client_sends_nothing(self) -> None:
        async with client_of(sending(OK, OK)) as client:
            await fetch(client)
            await client.close()
            with pytest.raises(ConnectionError):
                await fetch(client)


class TestTimeLimits:
    @pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\n", OK[:-1]])
    async def test_server_that_sends_nothing_more_is_a_time_out(self, begun: bytes) -> None:
        async with client_of(sending(begun), sending(begun), seconds=0.1) as client:
            with pytest.raises(TimeoutError):
                await fetch(client)
            with pytest.raises(TimeoutError):
                await stream(client)

    @pytest.mark.parametrize("part", [b"X: y\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"x"])
    async def test_head_that_never_ends_is_a_time_out_however_slowly_it_arrives(self, part: bytes) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" if part.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\nX")
            while True:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.02)

        async with client_of(script, seconds=0.2) as client, asyncio.timeout(20):
            with pytest.raises(TimeoutError):
                await fetch(client)
            while client._open:  # noqa: ASYNC110 - the event loop ends a connection after the error was raised
                await asyncio.sleep(0)

    async def test_each_request_on_a_reused_connection_has_the_whole_time(self) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(3):
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(0.3)
                writer.write(OK)

        async with client_of(script, seconds=0.7) as client:
            for _ in range(3):
                assert (await fetch(client))[0] == 200


class TestSizeLimit:
    @pytest.mark.parametrize("head", [CHUNKED + b"40\r\n", b"HTTP/1.1 500 Oops\r\nContent-Length: 64\r\n\r\n"])
    async def test_body_of_the_largest_size_is_read_and_a_larger_one_is_an_error(self, head: bytes) -> None:
        body = head + b"x" * 64 + (b"\r\n0\r\n\r\n" if b"chunked" in head else b"")
        async with client_of(sending(body, body), max_body=64) as client:
            assert len((await fetch(client))[2]) == 64
            async with client.stream("/x", {}) as response:
                assert len((await response.read()).body) == 64
        async with client_of(sending(body, body), max_body=63) as client:
            with pytest.raises(ConnectionError, match="more than 63 bytes"):
                await fetch(client)
            async with client.stream("/x", {}) as response:
                with pytest.raises(ConnectionError, match="more than 63 bytes"):
                    await response.read()

    @pytest.mark.parametrize("beginning", [b"0\r\nX: ", b"0\r\n", b"2;", b"2\r\n{}\r\n0\r\nX: "], ids=repr)
    async def test_what_surrounds_a_body_has_an_end_too(self, beginning: bytes) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(CHUNKED + beginning)
            while True:
                writer.write((b"X: y\r\n" if beginning.endswith(b"\n") else b"x") * 2**13)
                await writer.drain()

        async with client_of(script, script) as client, asyncio.timeout(20):
            with pytest.raises(ConnectionError, match="around the body"):
                await fetch(client)
            with pytest.raises(ConnectionError, match="around the body"):
                await stream(client)

    async def test_endless_body_is_neither_held_nor_received_for_long(self) -> None:
        sent, closed = 0, asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                while True:
                    writer.write(b"x" * 2**20)
                    await writer.drain()
                    sent += 2**20
            finally:
                closed.set()

        async with client_of(script, max_body=2**20) as client:
            with pytest.raises(ConnectionError, match="more than"):
                await fetch(client)
            await closed.wait()
        assert sent < PAST_ALL_BUFFERS


class TestStreams:
    async def test_head_is_available_before_the_body(self) -> None:
        closed = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await sending(OK[:-1])(reader, writer)
            closed.set()

        async with client_of(script) as client:
            async with client.stream("/x", {}) as response:
                assert (response.status, response.media_type) == (200, "application/json")
            await closed.wait()  # since the reader has left before the end

    async def test_unread_body_stays_with_the_server_and_is_no_time_out(self) -> None:
        sent = 0

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % PAST_ALL_BUFFERS)
            while sent < PAST_ALL_BUFFERS:
                writer.write(b"x" * 2**20)
                sent += 2**20
                await writer.drain()

        async with client_of(script, seconds=0.2) as client, client.stream("/x", {}) as response:
            before = -1
            while before < sent:
                before = sent
                await asyncio.sleep(0.3)  # more than the time limit
            assert sent < PAST_ALL_BUFFERS
            sizes = [len(piece) async for piece in response]
        assert sum(sizes) == PAST_ALL_BUFFERS
        assert max(sizes) <= 2**20

    async def test_truncated_body_is_an_error(self) -> None:
        async with client_of(closing_after(OK[:-1])) as client:
            with pytest.raises(ConnectionError):
                await stream(client)


async def stream(client: HttpClient) -> bytes:
    async with client.stream("/x", {}) as response:
        return b"".join([piece async for piece in response])


class TestRequests:
    async def test_request_has_the_given_headers_and_few_others(self) -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            request = await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(2)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(request), request))
            await reader.read()

        async with client_of(echo) as client:
            response = await client.request("POST", "/a?b=c", {"X-A": "1"}, b"{}")
        line, *headers, blank, body = response.body.decode().split("\r\n")
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
        async with client_of() as client:
            with pytest.raises(ValueError, match="header"):
                await client.request("GET", "/x", {"X-A": value})


async def test_certificate_is_accepted_if_its_issuer_is_in_ssl_cert_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(LOCALHOST).configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "trusted.pem"))
    script = sending(OK)
    async with await asyncio.start_server(script, LOCALHOST, 0, ssl=context) as server:
        url = f"https://{LOCALHOST}:{server.sockets[0].getsockname()[1]}"
        untrusting = HttpClient(url, 5)
        with pytest.raises(ssl.SSLCertVerificationError):
            await untrusting.request("GET", "/", {})
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
        trusting = HttpClient(url, 5)
        assert (await trusting.request("GET", "/", {})).body == b"{}"
        for client in (untrusting, trusting):
            await client.close()
