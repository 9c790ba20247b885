"""Server-sent events: the same stream gives the same data, however it is written and divided into chunks."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agui.sse import Decoder, EventTooLarge


def decode(*chunks: bytes, limit: int = 1000) -> list[bytes]:
    decoder = Decoder(limit)
    found = [data for chunk in chunks for data in decoder.feed(chunk)]
    return [*found, *decoder.finish()]


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        (b"", []),
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a \n\n", [b" a "]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data: a:b\n\n", [b"a:b"]),
        (b": comment\n\n:\n\ndata: a\n: more\n\n", [b"a"]),
        (b"event: x\nid: 1\nretry: 5\ndata: a\n\n", [b"a"]),
        (b"id: 1\n\ndata\n\ndata:\n\n", []),
        (b"datax: a\nDATA: b\n data: c\n\n", []),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"data: \xe2\x80\xa8\x0b\x0c\x85\n\n", [b"\xe2\x80\xa8\x0b\x0c\x85"]),
        (b"data: a\n\n\n\n\ndata: b", [b"a", b"b"]),
        (b"data: a\n", [b"a"]),
    ],
)
def test_data_is_read_as_the_standard_says(stream: bytes, data: list[bytes]) -> None:
    assert decode(stream) == data
    assert decode(*(stream[i : i + 1] for i in range(len(stream)))) == data


@given(
    st.lists(st.sampled_from([b"data: a", b"data", b"data:", b"\r", b"\n", b"\r\n", b": x", b"\n\n"])).map(b"".join),
    st.lists(st.integers(0, 60)),
)
def test_chunks_make_no_difference(stream: bytes, ends: list[int]) -> None:
    bounds = [0, *sorted(ends), len(stream)]
    chunks = [stream[start:end] for start, end in pairwise(bounds)]
    assert decode(*chunks) == decode(stream)


@pytest.mark.parametrize(
    "endless",
    [b"x" * 100, b"data: " + b"x" * 90 + b"\n", b"data:\n", b": " + b"x" * 100],
    ids=["line", "data", "empty data", "comment"],
)
def test_memory_is_bounded_when_an_event_does_not_end(endless: bytes) -> None:
    with pytest.raises(EventTooLarge):
        decode(*[endless] * 2000)


def test_events_of_exactly_the_limit_pass() -> None:
    event = b"data: " + b"x" * 994 + b"\n\n"
    assert decode(event * 3, b": comment\n" * 1000, event) == [b"x" * 994] * 4
