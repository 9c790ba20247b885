"""The rules of labels: which keys are refused, what a change leaves, what counts as a label, what a filter finds."""

import pytest

from app import labels
from app.errors import BadRequest, TooManyLabels


@pytest.mark.parametrize("prefix", labels.RESERVED)
def test_a_reserved_prefix_is_refused_and_the_key_is_named(prefix: str) -> None:
    with pytest.raises(BadRequest) as raised:
        labels.check({"team": "a", f"{prefix}/name": "b"})
    assert [detail.location for detail in raised.value.details] == [f"body.labels.{prefix}/name"]


def test_a_prefix_that_only_looks_reserved_is_accepted() -> None:
    labels.check(["x.ambient-code.io/a", "ambient-code.io", "ambient-code.iox/a"])
    labels.check(None)


@pytest.mark.parametrize(("length", "fits"), [(253, True), (254, False)])
def test_a_prefix_has_at_most_253_characters(length: int, fits: bool) -> None:
    key = f"{'a.' * 126}{'b' * (length - 252)}/name"
    assert labels.is_label(key, "x") is fits
    if not fits:
        with pytest.raises(BadRequest, match="253"):
            labels.check([key])


def test_a_change_sets_and_removes_labels_and_leaves_the_others() -> None:
    before = {"a": "1", "b": "2", "c": "3"}
    assert labels.apply_changes(before, {"a": None, "b": "4", "d": "", "e": None}) == {"b": "4", "c": "3", "d": ""}
    assert before == {"a": "1", "b": "2", "c": "3"}


def test_a_session_has_at_most_64_labels_after_a_change() -> None:
    full = {f"key-{number}": "" for number in range(64)}
    assert len(labels.apply_changes(full, {"key-0": None, "new": ""})) == 64
    with pytest.raises(TooManyLabels):
        labels.apply_changes(full, {"new": ""})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ambient-code.io/desired-phase", "Running"),
        ("kubectl.kubernetes.io/last-applied-configuration", "x"),
        ("note", "two words"),
        ("note", "x" * 64),
        ("a key", "x"),
        ("Example.com/key", "x"),
        ("", "x"),
        ("key\n", "x"),
    ],
)
def test_a_label_that_a_client_may_not_set_is_none(key: str, value: str) -> None:
    assert not labels.is_label(key, value)


def test_a_filter_matches_labels_that_include_all_of_it() -> None:
    found = {"team": "shop", "example.com/x": ""}
    assert labels.matches(found, [])
    assert labels.matches(found, ["example.com/x=", "team=shop"])
    assert not labels.matches(found, ["team=shop", "team=cart"])
    assert not labels.matches(None, ["team=shop"])
