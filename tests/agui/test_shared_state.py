"""The shared state of a thread, folded from its log."""

from itertools import pairwise
from typing import Any

import jsonpatch
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agui.events import FULL_EVENTS, decode
from app.agui.shared_state import MAX_BYTES, shared_state


def after(*events: dict[str, Any]) -> Any:
    log = list(decode([msgspec.Raw(msgspec.json.encode(event)) for event in events], FULL_EVENTS))
    return shared_state(log)


def snapshot(state: Any) -> dict[str, Any]:
    return {"type": "STATE_SNAPSHOT", "snapshot": state}


def delta(*operations: Any) -> dict[str, Any]:
    return {"type": "STATE_DELTA", "delta": list(operations)}


def started(state: Any) -> dict[str, Any]:
    return {"type": "RUN_STARTED", "input": {"messages": [], "state": state}}


def test_a_thread_without_a_word_about_it_has_none() -> None:
    assert after() is None
    assert after({"type": "RUN_STARTED"}, started({}), {"type": "RUN_FINISHED"}) is None


def test_the_last_snapshot_or_input_counts_with_the_patches_after_it() -> None:
    add = delta({"op": "add", "path": "/b", "value": 2})
    assert after(snapshot({"a": 1}), add) == {"a": 1, "b": 2}
    assert after(snapshot({"a": 1}), add, snapshot({"c": 3})) == {"c": 3}
    assert after(snapshot({"a": 1}), started({"d": 4}), add) == {"d": 4, "b": 2}
    assert after(snapshot({"a": 1}), started({})) == {"a": 1}
    assert after(add) == {"b": 2}


@pytest.mark.parametrize(
    "wrong",
    [
        delta({"op": "remove", "path": "/none"}),
        delta({"op": "add", "path": "/x", "value": 1}, {"op": "test", "path": "/a", "value": 2}),
        delta("text"),
        delta({"op": "dance", "path": "/a"}),
        delta({"op": "add"}),
        delta({"op": "add", "path": "a", "value": 1}),
        delta({"op": "add", "path": 1, "value": 1}),
        {"type": "STATE_DELTA", "delta": "text"},
        {"type": "STATE_DELTA"},
        {"type": "STATE_SNAPSHOT"},
    ],
)
def test_a_patch_that_does_not_fit_changes_nothing(wrong: dict[str, Any]) -> None:
    assert after(snapshot({"a": 1}), wrong) == {"a": 1}
    assert after(snapshot({"a": 1}), wrong, delta({"op": "add", "path": "/b", "value": 2})) == {"a": 1, "b": 2}


def test_a_patch_cannot_make_the_state_grow_without_bound() -> None:
    doubling = [{"op": "copy", "from": "", "path": f"/{number}"} for number in range(60)]
    before = {"a": "x" * (MAX_BYTES // 100)}
    assert after(snapshot(before), delta(*doubling)) == before


KEYS = st.text("ab/~", max_size=2)
JSON = st.recursive(
    st.none() | st.integers(-9, 9) | st.text("ab/~", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(KEYS, JSON, max_size=3), min_size=1, max_size=6))
def test_patches_lead_from_each_state_to_the_next(states: list[dict[str, Any]]) -> None:
    patches = [delta(*jsonpatch.make_patch(one, two)) for one, two in pairwise(states)]
    assert after(snapshot(states[0]), *patches) == states[-1]
