"""The words in which a validator refuses."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from app.contract.schemas import MAX_DETAILS, Validator


def problems(schema: dict[str, Any], value: Any) -> list[tuple[str, str]]:
    validator = Validator(schema)
    assert not validator.is_valid(value)
    return [(detail.location, detail.message) for detail in validator.error(value, "body").details]


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
def test_one_is_singular(keyword: str, wrong: Any, thing: str) -> None:
    bound = "least" if keyword.startswith("min") else "most"
    assert problems({keyword: 1}, wrong) == [("body", f"must have at {bound} 1 {thing}")]
    assert problems({keyword: 2}, wrong) == [("body", f"must have at {bound} 2 {thing}s")]


def test_bounds_of_numbers_are_in_figures() -> None:
    assert problems({"minimum": 1}, 0) == [("body", "must be at least 1")]
    assert problems({"maximum": 1}, 2) == [("body", "must be at most 1")]


@pytest.fixture
def all_errors(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of errors of each value for which all of them were made."""
    counts = []
    validator = jsonschema_rs.Draft4Validator

    class Counting:
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._validator = validator(*arguments, **options)
            self.is_valid, self.validate = self._validator.is_valid, self._validator.validate

        def iter_errors(self, value: Any) -> Iterator[jsonschema_rs.ValidationError]:
            errors = list(self._validator.iter_errors(value))
            counts.append(len(errors))
            return iter(errors)

    monkeypatch.setattr(jsonschema_rs, "Draft4Validator", Counting)
    return counts


ITEMS = {"type": "array", "items": {"type": "object", "required": ["a"]}}


def test_up_to_twenty_problems_of_a_value_are_named(all_errors: list[int]) -> None:
    assert problems(ITEMS, [{}] * 500) == [(f"body[{index}].a", "is required") for index in range(MAX_DETAILS)]
    assert all_errors == [500]


@pytest.mark.parametrize("value", [[{}] * 100_000, [[{}] * 1000] * 2, [dict.fromkeys(map(str, range(2000)))]])
def test_only_one_problem_of_a_large_value_is_looked_for(all_errors: list[int], value: Any) -> None:
    assert len(problems(ITEMS, value)) == 1
    assert all_errors == []


def test_a_name_in_a_map_is_refused_in_the_words_of_the_map() -> None:
    schema = {"x-key-pattern": "^[a-z]$", "x-key-words": "must be a letter", "additionalProperties": {}}
    assert problems(schema, {"a": 1, "1": 1}) == [("body.1", "must be a letter")]
