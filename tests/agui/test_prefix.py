"""Logs that have been read before: only new entries are decoded, and a rewritten log is recognised."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agui import export_splitter
from app.agui.events import OPAQUE
from app.agui.export_splitter import ExportSplitter
from app.agui.prefix import LogPrefix, LogRewritten, PrefixHasher
from tests.agui.test_export_splitter import OBJECTS, VALUES, export

LOGS = st.lists(OBJECTS | VALUES, max_size=6)
# The first piece holds the head, or else a short export is read as a whole and nothing is known of it.
SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=6).map(lambda sizes: [60, *sizes])


@pytest.fixture(autouse=True)
def _short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_splitter, "SLICE", 1)


def read(text: bytes, sizes: list[int], known: LogPrefix | None = None) -> tuple[list[bytes], LogPrefix | None]:
    """Return the entries of an export that arrives in pieces of these sizes, and the prefix that has been read."""
    hasher = PrefixHasher(known)
    splitter, found = ExportSplitter(OPAQUE, hasher), []
    for piece in pieces(text, sizes):
        found += [bytes(raw) for part in splitter.feed(piece) for raw in part.raws()]
    found += [bytes(raw) for raw in splitter.finish().raws()]
    return found, hasher.prefix


def pieces(text: bytes, sizes: list[int]) -> Iterator[bytes]:
    sizes = list(sizes)
    while text:
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        yield text[:size]
        text = text[size:]


def written(log: list[Any], indent: int, date: int = 0) -> bytes:
    whole = {"exportDate": date, "aguiEvents": log, "hasLegacy": False}
    return msgspec.json.format(msgspec.json.encode(whole), indent=indent)


def raws(text: bytes) -> list[bytes]:
    whole = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    return [bytes(raw) for raw in msgspec.json.decode(whole["aguiEvents"], type=list[msgspec.Raw])]


@given(LOGS, LOGS, st.integers(-1, 2), SIZES, SIZES)
def test_only_entries_after_the_known_prefix_are_read(
    before: list[Any], added: list[Any], indent: int, sizes: list[int], others: list[int]
) -> None:
    first, second = written(before, indent), written(before + added, indent, date=12)
    found, known = read(first, sizes)
    assert found == raws(first)
    after, prefix = read(second, others, known)
    assert after == raws(second)[len(before) :]
    assert prefix == read(second, sizes)[1]


@given(st.lists(OBJECTS, min_size=1, max_size=6), LOGS, st.data(), SIZES)
def test_a_log_that_begins_in_another_way_is_rewritten(
    before: list[Any], added: list[Any], data: st.DataObject, sizes: list[int]
) -> None:
    _, known = read(written(before, 0), sizes)
    place = data.draw(st.integers(0, len(before) - 1))
    changed = [*before[:place], *data.draw(st.sampled_from([[], [{"type": "OTHER"}]])), *before[place + 1 :]]
    if changed == before[: len(changed)] + added and len(changed) >= len(before):
        return
    with pytest.raises(LogRewritten):
        read(written(changed, 0), sizes, known)


@pytest.mark.parametrize("now", [export(b"12"), export(b"1.5"), export(), b'{"aguiEvents":null}', b"{}", b""])
def test_a_longer_last_entry_is_not_taken_for_the_known_one(now: bytes) -> None:
    _, known = read(export(b"1"), [5])
    assert read(export(b"1", b"2"), [5], known)[0] == [b"2"]
    with pytest.raises(LogRewritten):
        read(now, [5], known)


@pytest.mark.parametrize("after", [b"", b",", b"}", b",]", b"] 1", b',{"type":"A"}'])
def test_an_export_that_is_invalid_after_the_known_prefix_is_rejected(after: bytes) -> None:
    _, known = read(export(b'{"type":"A"}'), [7])
    with pytest.raises((msgspec.DecodeError, LogRewritten)):
        read(b'{"sessionId":"s","aguiEvents":[{"type":"A"}' + after, [7], known)


def test_endless_white_space_is_not_accumulated() -> None:
    _, known = read(export(b"1"), [60])
    with pytest.raises(LogRewritten):
        read(b'{"sessionId":"s","aguiEvents":[1' + b" " * 200_000, [60, 10_000], known)
