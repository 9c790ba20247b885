"""The words in which a validator refuses."""

from typing import Any

import pytest

from app.contract.schemas import Validator
from app.errors import BadRequest


def problems(schema: dict[str, Any], value: Any) -> list[tuple[str, str]]:
    with pytest.raises(BadRequest) as caught:
        Validator(schema).check(value, "body")
    return [(detail.location, detail.message) for detail in caught.value.details]


@pytest.mark.parametrize(
    ("keyword", "wrong", "thing"),
    [
        ("minItems", [], "item"),
        ("maxItems", [0] * 9, "item"),
        ("minLength", "", "character"),
        ("maxLength", "a" * 9, "character"),
        ("minProperties", {}, "member"),
        ("maxProperties", dict.fromkeys("abcdefghi"), "member"),
    ],
)
def test_one_thing_is_not_called_many(keyword: str, wrong: Any, thing: str) -> None:
    bound = "least" if keyword.startswith("min") else "most"
    assert problems({keyword: 1}, wrong) == [("body", f"must have at {bound} 1 {thing}")]
    assert problems({keyword: 2}, wrong) == [("body", f"must have at {bound} 2 {thing}s")]


def test_a_number_is_compared_in_figures() -> None:
    assert problems({"minimum": 1}, 0) == [("body", "must be at least 1")]
    assert problems({"maximum": 1}, 2) == [("body", "must be at most 1")]


def test_a_name_in_a_map_is_refused_in_the_words_of_the_map() -> None:
    schema = {"x-key-pattern": "^[a-z]$", "x-key-words": "must be a letter", "additionalProperties": {}}
    assert problems(schema, {"a": 1, "1": 1}) == [("body.1", "must be a letter")]
