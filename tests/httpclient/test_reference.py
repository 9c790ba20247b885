"""The HTTP client reads responses as aiohttp does."""

import aiohttp
import pytest

from tests.httpclient.test_client import CHUNKED, OK, client_of, closing_after

RESPONSES = {
    "length": OK,
    "no body": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304 with a length": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}",
    "unknown status": b"HTTP/1.1 599 Odd\r\nContent-Length: 2\r\n\r\n{}",
    "chunks": CHUNKED + b"3\r\nabc\r\nA;name=value\r\n0123456789\r\n0\r\nX-Trailer: x\r\n\r\n",
    "until the end of the connection": b"HTTP/1.1 200 OK\r\nContent-Type: Text/Plain\r\n\r\nabc",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    "interim response": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK,
    "media type of an interim response": b"HTTP/1.1 103 X\r\nContent-Type: a/b\r\n\r\nHTTP/1.1 204 X\r\n\r\n",
    "compressed": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "headers in any case": b"HTTP/1.1 200 OK\r\nCONTENT-TYPE:a/b\r\ncontent-length:  3  \r\n\r\nabc",
    "nothing": b"",
    "truncated head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "truncated body": OK[:-1],
    "truncated chunk": CHUNKED + b"3\r\na",
    "missing last chunk": CHUNKED + b"3\r\nabc\r\n",
    "bad size of a chunk": CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n",
    "bad length": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabc",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "chunks and a length": CHUNKED[:-2] + b"Content-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
}

Read = tuple[int, str, bytes] | None


async def ours(response: bytes, *, streamed: bool) -> Read:
    async with client_of(closing_after(response)) as client:
        try:
            if not streamed:
                return (await client.request("GET", "/x", {}))[:3]
            async with client.stream("/x", {}) as found:
                return found.status, found.media_type, b"".join([piece async for piece in found])
        except ConnectionError:
            return None


async def theirs(response: bytes) -> Read:
    async with (
        client_of(closing_after(response)) as client,
        aiohttp.ClientSession(f"http://{client._host}:{client._port}", auto_decompress=False) as session,
    ):
        try:
            async with session.get("/x", timeout=aiohttp.ClientTimeout(5)) as found:
                media_type = found.content_type if "Content-Type" in found.headers else ""
                return found.status, media_type.lower(), await found.read()
        except aiohttp.ClientError:
            return None


@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES)
async def test_response_is_read_as_aiohttp_reads_it(response: bytes) -> None:
    expected = await theirs(response)
    assert await ours(response, streamed=False) == expected
    assert await ours(response, streamed=True) == expected
