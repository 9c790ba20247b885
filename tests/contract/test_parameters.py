"""Strict text to typed values."""

import pytest

from app.contract.input import MAX_QUERY_FIELDS, Parameter, parse_query
from app.errors import BadRequest

LIMIT = Parameter(
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}}
)
STATUS = Parameter(
    {"name": "status", "in": "query", "schema": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}}
)
SESSION = Parameter(
    {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[a-z0-9-]{1,63}$"}}
)


def problem(parameter: Parameter, *texts: str) -> tuple[str, str]:
    with pytest.raises(BadRequest) as caught:
        parameter.parse(list(texts))
    return caught.value.details[0].location, caught.value.details[0].message


def test_the_default_stands_in_when_nothing_is_sent() -> None:
    assert LIMIT.parse(None) == 20


@pytest.mark.parametrize("text", ["1_0", " 1", "+5", "٣", "1.0", "1e1", "01", "", "0x1", "9" * 5000 + "x"])
def test_an_integer_is_refused_unless_it_is_plain_decimal(text: str) -> None:
    assert problem(LIMIT, text) == ("query.limit", "must be an integer in decimal digits")


def test_bounds_are_those_of_the_document() -> None:
    assert LIMIT.parse(["100"]) == 100
    assert problem(LIMIT, "101") == ("query.limit", "must be at most 100")
    assert problem(LIMIT, "-1") == ("query.limit", "must be at least 1")


def test_a_scalar_is_refused_when_it_is_sent_twice() -> None:
    assert problem(LIMIT, "1", "1") == ("query.limit", "must be sent once")


def test_a_repeatable_parameter_has_every_value_and_names_the_wrong_one() -> None:
    assert STATUS.parse(["a", "b"]) == ["a", "b"]
    assert problem(STATUS, "a", "z") == ("query.status[1]", "must be one of a, b")


@pytest.mark.parametrize("digits", [19, 20, 5000, 1_000_000])
def test_an_integer_of_any_length_is_compared_with_the_bounds(digits: int) -> None:
    assert problem(LIMIT, "9" * digits) == ("query.limit", "must be at most 100")
    assert problem(LIMIT, "-" + "9" * digits) == ("query.limit", "must be at least 1")


@pytest.mark.parametrize("text", ["a\n", "A", "a b", "", "a" * 64, "a/b"])
def test_a_pattern_takes_the_whole_text(text: str) -> None:
    assert problem(SESSION, text)[0] == "path.id"


def test_an_unknown_query_field_is_named() -> None:
    with pytest.raises(BadRequest) as caught:
        parse_query(b"limit=1&bogus=%2e", {"limit"})
    assert [(detail.location, detail.message) for detail in caught.value.details] == [
        ("query.bogus", "is not known here")
    ]


def test_the_query_is_read_as_utf8() -> None:
    assert parse_query(b"q=caf%C3%A9+x", {"q"}) == {"q": ["café x"]}


@pytest.mark.parametrize("query", [b"q=%ff", b"q=\xff", b"&".join([b"q=1"] * (MAX_QUERY_FIELDS + 1))])
def test_a_query_is_refused_when_it_is_no_utf8_or_too_long(query: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_query(query, {"q"})
    assert caught.value.details[0].location == "query"
