"""Compressed responses, as clients that take zstd or gzip get them."""

import asyncio
import gzip
import random
from http.client import HTTPConnection, IncompleteRead
from urllib.parse import urlsplit

import pytest
import requests
import zstandard
from starlette.types import ASGIApp, Receive, Scope, Send

from app.observability.metrics import Metrics
from app.server import compression
from app.server.middleware import RequestMiddleware
from app.settings import Settings
from tests.support.api import Api
from tests.support.asgi import Client, nothing
from tests.support.server import Background, serving
from tests.support.stage import EmbeddedStage

DOCUMENT = "/v1/openapi.json"


def fetch(url: str, accepted: str | None, method: str = "GET") -> tuple[dict[str, str], bytes]:
    """Headers, their names in lower case, and the raw body."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.putrequest(method, urlsplit(url).path, skip_accept_encoding=True)
        if accepted is not None:
            connection.putheader("Accept-Encoding", accepted)
        connection.endheaders()
        response = connection.getresponse()
        return {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def responding(*pieces: bytes, media_type: str = "application/json", error: Exception | None = None) -> ASGIApp:
    """An app that responds in chunks, and then fails if it has an error."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{event}.complete"})
            return
        headers = [(b"content-type", media_type.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if error:
            raise error
        await send({"type": "http.response.body", "body": b""})

    return app


def unzipped(body: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(body)


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("GZIP;q=1.0, br", "gzip"),
        ("gzip;q=1, zstd;q=0.5", "gzip"),
        ("*", "gzip"),
        ("zstd;q=0, *", "gzip"),
        ("gzip, *", "gzip"),
        ("*, ZSTD", "zstd"),
        ("identity;q=0, *;q=0.1", "gzip"),
        ("gzip;q=0.5, identity;q=0.4", "gzip"),
        ("gzip;q=0.5, identity", "identity"),
        ("gzip;q=0", "identity"),
        ("gzip;q=0.000, zstd;q=0", "identity"),
        ("*;q=0", "identity"),
        ("identity;q=0", "identity"),
        ("br, deflate, x-gzip", "identity"),
        ("gzip;q=nonsense", "identity"),
        ("gzip;q=7", "identity"),
        (";;,=,\xff", "identity"),
        ("a" * 10_000 + ", gzip", "identity"),
    ],
)
def test_the_coding_is_the_one_that_the_client_prefers(accepted: str, coding: str) -> None:
    assert compression.preferred_coding(accepted) == coding


def test_a_response_is_the_same_in_every_coding(embedded: EmbeddedStage) -> None:
    plain_headers, plain = fetch(embedded.url + DOCUMENT, None)
    gzip_headers, gzipped = fetch(embedded.url + DOCUMENT, "gzip")
    zstd_headers, zipped = fetch(embedded.url + DOCUMENT, "zstd, gzip;q=0.9")

    assert gzip.decompress(gzipped) == unzipped(zipped) == plain
    assert max(len(gzipped), len(zipped)) < len(plain) / 3
    assert "content-encoding" not in plain_headers
    assert (gzip_headers["content-encoding"], zstd_headers["content-encoding"]) == ("gzip", "zstd")
    for headers in (plain_headers, gzip_headers, zstd_headers):
        assert "Accept-Encoding" in headers["vary"]
        assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/", "/v1/docs", "/v1/openapi.yaml", "/v1/docs/assets/scalar.js"])
def test_pages_and_their_files_are_compressed(embedded: EmbeddedStage, path: str) -> None:
    headers, body = fetch(embedded.url + path, "gzip")

    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(body) == fetch(embedded.url + path, None)[1]


def test_a_tag_of_a_page_claims_no_bytes_that_the_coding_changes(embedded: EmbeddedStage) -> None:
    headers, _ = fetch(embedded.url + DOCUMENT, "gzip")
    again = requests.get(embedded.url + DOCUMENT, headers={"If-None-Match": headers["etag"]}, timeout=30)

    assert headers["etag"].startswith('W/"')
    assert (again.status_code, again.content) == (304, b"")
    assert "Content-Encoding" not in again.headers


def test_a_short_response_is_not_compressed(embedded: EmbeddedStage, embedded_api: Api) -> None:
    session_id = embedded.session(embedded_api, "running")
    response = embedded_api.call("get_session", session_id, headers={"Accept-Encoding": "gzip, zstd"})

    assert response.ok()["id"] == session_id
    assert "Content-Encoding" not in response.headers


def test_output_is_compressed(embedded: EmbeddedStage, embedded_api: Api) -> None:
    session_id = embedded.session(embedded_api, "running", task="say it " * 2000)
    plain = embedded_api.call("get_session_output", session_id, headers={"Accept-Encoding": "identity"})
    zipped = embedded_api.call("get_session_output", session_id, headers={"Accept-Encoding": "gzip"})

    assert zipped.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert zipped.ok() == plain.ok()


def test_an_event_stream_is_not_compressed(embedded: EmbeddedStage, embedded_api: Api) -> None:
    session_id = embedded.session(embedded_api, "running", task="say it " * 2000)
    [run] = embedded_api.list_runs(session_id).ok()["runs"]
    embedded_api.http.headers["Accept-Encoding"] = "gzip, zstd"
    with embedded_api.stream(session_id, run_id=run["run_id"]) as stream:
        assert "Content-Encoding" not in stream.response.headers
        assert len(list(stream)) == run["event_count"]


@pytest.mark.parametrize("accepted", ["gzip", "zstd"])
async def test_a_body_in_chunks_is_one_compressed_body(accepted: str) -> None:
    pieces = [random.Random(number).randbytes(number * 1000) for number in range(100)]  # noqa: S311 - any bytes
    response = await Client(responding(*pieces)).get("/", ("Accept-Encoding", accepted))

    assert response.header("content-encoding") == accepted
    assert (gzip.decompress if accepted == "gzip" else unzipped)(response.body) == b"".join(pieces)


@pytest.mark.parametrize("accepted", ["gzip", "zstd"])
def test_an_aborted_body_does_not_look_complete(loop: Background, accepted: str) -> None:
    noise = random.Random(1).randbytes(1_000_000)  # noqa: S311 - bytes that do not compress
    app = RequestMiddleware(
        responding(noise, error=RuntimeError("broken")),
        settings=Settings(audit_log=None),
        metrics=Metrics(),
        ready=nothing,
    )
    with serving(app, loop) as url, pytest.raises(IncompleteRead) as aborted:
        fetch(url, accepted)

    assert len(aborted.value.partial) > 100_000


async def test_others_have_their_turn_while_a_large_body_is_compressed() -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    await Client(responding(b"x" * 10_000_000)).get("/", ("Accept-Encoding", "gzip"))
    other.cancel()

    assert turns >= 10_000_000 // compression.SLICE_BYTES


@pytest.mark.parametrize("media_type", ["image/png", "text/event-stream", "application/octet-stream"])
async def test_binary_content_is_not_compressed(media_type: str) -> None:
    response = await Client(responding(b"x" * 10_000, media_type=media_type)).get("/", ("Accept-Encoding", "gzip"))

    assert response.header("content-encoding") is None
    assert response.body == b"x" * 10_000
