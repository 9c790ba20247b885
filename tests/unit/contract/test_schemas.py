"""The words in which a validator refuses."""

from typing import Any

import pytest

from app.contract.schemas import Validator
from app.errors import BadRequest


def problems(schema: dict[str, Any], value: Any) -> list[tuple[str, str]]:
    with pytest.raises(BadRequest) as caught:
        Validator(schema).check(value, "body")
    return [(detail.location, detail.message) for detail in caught.value.details]


def test_a_name_in_a_map_is_refused_in_the_words_of_the_map() -> None:
    schema = {"x-key-pattern": "^[a-z]$", "x-key-words": "must be a letter", "additionalProperties": {}}
    assert problems(schema, {"a": 1, "1": 1}) == [("body.1", "must be a letter")]
