"""Files and long bodies as responses: whole, in part, or not at all where the client has them."""

# ruff: noqa: ARG001 - a handler takes whatever the contract gives it

from collections.abc import AsyncGenerator

import pytest
from starlette.types import ASGIApp

from app.errors import BackendUnavailable
from app.models.caller import Caller
from app.port.backend import Backend
from app.results import FileContent, StreamedBody
from tests.support.contract import AUTH, Response, Sent, call
from tests.support.small_contract import BYTES, definition, parameter, responses, serve

CONTENT = bytes(range(200)) * 5
TAG = '"v7"'
reads: list[tuple[int, int]] = []


async def _chunks(start: int, end: int) -> AsyncGenerator[bytes, None]:
    reads.append((start, end))
    for at in range(start, end, 300):
        yield CONTENT[at : min(at + 300, end)]


async def read_file(backend: Backend, caller: Caller, *, name: str) -> FileContent:
    return FileContent(0 if name == "empty" else len(CONTENT), "v7", _chunks)


async def read_plainly(backend: Backend, caller: Caller) -> FileContent:
    return FileContent(len(CONTENT), "v7", _chunks)


async def read_archive(backend: Backend, caller: Caller, *, fails: str | None) -> StreamedBody:
    async def chunks() -> AsyncGenerator[bytes, None]:
        if fails:
            raise BackendUnavailable
        yield CONTENT
        yield CONTENT

    return StreamedBody(chunks())


def app() -> ASGIApp:
    ranged = responses(200, 206, 304, 416, content=BYTES)
    return serve(
        {
            "/files/{name}": {
                "get": definition(
                    "read_file", parameter("name", "path"), parameter("If-None-Match", "header"), responses=ranged
                )
            },
            "/plain": {"get": definition("read_plainly", responses=responses(200, content=BYTES))},
            "/archive": {
                "get": definition("read_archive", parameter("fails", "query"), responses=responses(200, content=BYTES))
            },
        },
        read_file,
        read_plainly,
        read_archive,
    )


async def get(path: str = "/files/a", method: str = "GET", **headers: str) -> Response:
    reads.clear()
    more = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return await call(app(), Sent(method, f"/v1{path}", (*AUTH.items(), *more)))


async def test_a_file_is_sent_with_its_size_and_tag() -> None:
    response = await get()
    assert (response.status, response.body) == (200, CONTENT)
    assert response.header("content-type") == "application/octet-stream"
    assert [value for name, value in response.headers if name == "content-length"] == [str(len(CONTENT))]
    assert (response.header("etag"), response.header("accept-ranges")) == (TAG, "bytes")


async def test_an_empty_file_has_no_part() -> None:
    response = await get("/files/empty")
    assert (response.status, response.body, response.header("content-length")) == (200, b"", "0")
    assert (await get("/files/empty", Range="bytes=0-")).status == 416


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-299", 10, 300),
        ("bytes=10-", 10, 1000),
        ("bytes=-5", 995, 1000),
        ("bytes=-5000", 0, 1000),
        ("bytes=990-5000", 990, 1000),
        ("BYTES=1-2", 1, 3),
    ],
)
async def test_a_part_is_sent_as_206(wanted: str, start: int, end: int) -> None:
    response = await get(Range=wanted)
    assert (response.status, response.body) == (206, CONTENT[start:end])
    assert response.header("content-range") == f"bytes {start}-{end - 1}/1000"
    assert [value for name, value in response.headers if name == "content-length"] == [str(end - start)]
    assert reads == [(start, end)]


@pytest.mark.parametrize("wanted", ["bytes=1000-", "bytes=5000-6000"])
async def test_a_part_beyond_the_end_is_a_416_that_names_the_size(wanted: str) -> None:
    response = await get(Range=wanted)
    assert (response.status, response.json()["code"]) == (416, "range_not_satisfiable")
    assert response.header("content-range") == "bytes */1000"
    assert reads == []


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=a-b",
        "bytes=5-1",
        "bytes=-0",
        "lines=1-2",
        "bytes=0-1,5-6",
        "bytes=" + "9" * 5000 + "-",
    ],
)
async def test_anything_but_a_single_range_is_ignored(wanted: str) -> None:
    assert (await get(Range=wanted)).status == 200


@pytest.mark.parametrize(
    ("condition", "status"), [(TAG, 206), ('W/"v7"', 200), ('"v6"', 200), ("Sun, 29 Nov 2026 10:00:00 GMT", 200)]
)
async def test_a_part_of_another_state_is_not_sent(condition: str, status: int) -> None:
    assert (await get(Range="bytes=0-0", If_Range=condition)).status == status


@pytest.mark.parametrize("known", [TAG, 'W/"v7"', '"v6", "v7"'])
async def test_a_file_that_the_client_has_is_not_sent_again(known: str) -> None:
    response = await get(If_None_Match=known, Range="bytes=0-0")
    assert (response.status, response.body, response.header("etag"), reads) == (304, b"", TAG, [])


async def test_a_file_that_has_changed_is_sent() -> None:
    assert (await get(If_None_Match='"v6"')).body == CONTENT


async def test_head_reads_nothing() -> None:
    response = await get(method="HEAD", Range="bytes=0-0")
    assert (response.status, response.body, response.header("content-length")) == (200, b"", "1000")
    assert reads == []


async def test_statuses_that_are_not_documented_are_not_sent() -> None:
    response = await get("/plain", Range="bytes=0-0", If_None_Match=TAG)
    assert (response.status, response.body, response.header("accept-ranges")) == (200, CONTENT, None)


async def test_a_long_body_has_the_type_of_its_operation() -> None:
    response = await get("/archive")
    assert (response.status, response.body) == (200, CONTENT * 2)
    assert response.header("content-type") == "application/octet-stream"


async def test_an_error_before_the_first_chunk_is_an_error() -> None:
    response = await get("/archive?fails=yes")
    assert (response.status, response.json()["code"]) == (502, "backend_unavailable")
