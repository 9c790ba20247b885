"""Strict JSON, and what reads as absent."""

from typing import Any

import pytest

from app.contract.body import MAX_DEPTH, Body, check_media_type, parse_json
from app.errors import BadRequest, UnsupportedMediaType
from app.server.context import Request

SCHEMA = {
    "type": "object",
    "required": ["task"],
    "additionalProperties": False,
    "properties": {
        "task": {"type": "string", "pattern": r"\S", "x-pattern-words": "must not be blank"},
        "display_name": {"type": "string", "nullable": True},
        "state": {"nullable": True},
        "repos": {
            "type": "array",
            "nullable": True,
            "items": {
                "type": "object",
                "required": ["url"],
                "additionalProperties": False,
                "properties": {"url": {"type": "string"}, "branch": {"type": "string", "nullable": True}},
            },
        },
        "active_workflow": {"type": "object", "nullable": True, "properties": {"git_url": {"type": "string"}}},
        "activeWorkflow": {
            "type": "object",
            "nullable": True,
            "x-alias-of": "active_workflow",
            "properties": {"gitUrl": {"type": "string", "x-alias-of": "git_url"}},
        },
    },
}


def body(*, required: bool = True) -> Body:
    return Body({"required": required, "content": {"application/json": {"schema": SCHEMA}}})


def problems(content: bytes) -> list[tuple[str, str]]:
    with pytest.raises(BadRequest) as caught:
        body().value(content)
    return [(detail.location, detail.message) for detail in caught.value.details]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "must be valid JSON"),
        (b"{}{}", "must be valid JSON"),
        (b"\xef\xbb\xbf{}", "must be valid JSON"),
        (b'{"a": NaN}', "must hold finite numbers only, within the range of a double"),
        (b'{"a": -Infinity}', "must hold finite numbers only, within the range of a double"),
        (b'{"a": 1e400}', "must hold finite numbers only, within the range of a double"),
        (b'{"a": [-1.5E400]}', "must hold finite numbers only, within the range of a double"),
        (b'{"a": ' + b"1" * 5000 + b"}", "must hold integers of at most 4300 digits"),
        (b'{"a": "\\ud800"}', "must not hold half a surrogate pair"),
        (b'{"\\udc00": 1}', "must not hold half a surrogate pair"),
        (b'{"a": 1, "a": 2}', "must not hold an object with a name twice"),
        (b'{"a": [{"b": 1, "b": 1}]}', "must not hold an object with a name twice"),
        (b'{"a": "\xff"}', "must be JSON in UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "must be JSON in UTF-8"),
        (b"", "is required"),
    ],
)
def test_json_is_refused_when_it_is_not_strict(content: bytes, message: str) -> None:
    assert problems(content) == [("body", message)]


def test_json_is_refused_when_it_is_deeper_than_the_limit() -> None:
    parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    for depth in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(BadRequest) as caught:
            parse_json(b"[" * depth + b"]" * depth)
        assert caught.value.details[0].message == f"must be at most {MAX_DEPTH} levels deep"


def test_integers_keep_every_digit_whatever_their_size() -> None:
    assert parse_json(b"12345678901234567890123") == 12345678901234567890123


def test_a_surrogate_pair_is_one_character() -> None:
    assert parse_json(b'"\\ud83d\\ude80"') == "\N{ROCKET}"


def test_null_and_empty_optional_strings_read_as_absent() -> None:
    value = body().value(b'{"task": "t", "display_name": "", "state": null, "repos": [{"url": "u", "branch": null}]}')
    assert value == {"task": "t", "repos": [{"url": "u"}]}


def test_free_form_members_keep_their_nulls_and_empty_strings() -> None:
    value = body().value(b'{"task": "t", "state": {"a": null, "b": ""}}')
    assert value == {"task": "t", "state": {"a": None, "b": ""}}


@pytest.mark.parametrize("content", [b"{}", b'{"task": null}'])
def test_a_required_member_is_named_when_it_is_absent(content: bytes) -> None:
    assert problems(content) == [("body.task", "is required")]


def test_every_problem_is_named_by_its_place_and_no_value_is_echoed() -> None:
    found = problems(b'{"task": "  ", "bogus": "secret", "repos": [{"url": "u"}, {"url": 7, "x": null}]}')
    assert sorted(found) == [
        ("body.bogus", "is not known here"),
        ("body.repos[1].url", "must be a string"),
        ("body.repos[1].x", "is not known here"),
        ("body.task", "must not be blank"),
    ]


def test_deprecated_names_read_as_the_present_ones() -> None:
    value = body().value(b'{"task": "t", "activeWorkflow": {"gitUrl": "g"}}')
    assert value == {"task": "t", "active_workflow": {"git_url": "g"}}


def test_both_spellings_of_one_member_are_refused() -> None:
    found = problems(b'{"task": "t", "activeWorkflow": {}, "active_workflow": {}}')
    assert found == [("body.activeWorkflow", "is the deprecated name of active_workflow: send one of them")]


def test_an_optional_body_may_be_missing() -> None:
    assert body(required=False).value(b"") is None


def head(**headers: str) -> Request:
    pairs: list[Any] = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"headers": pairs})


@pytest.mark.parametrize(
    "kind", ["application/json", "APPLICATION/JSON ; Charset=UTF-8", 'application/json;charset="utf-8"']
)
def test_json_is_taken_however_its_type_is_spelled(kind: str) -> None:
    check_media_type(head(content_type=kind))


def test_a_body_without_a_type_is_taken_as_json() -> None:
    check_media_type(head())


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "text/plain"},
        {"content_type": "application/json; charset=utf-16"},
        {"content_type": "application/jsonx"},
    ],
)
def test_another_media_type_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(UnsupportedMediaType):
        check_media_type(head(**headers))


@pytest.mark.parametrize("coding", ["gzip", "zstd, gzip", "bogus"])
def test_a_body_with_a_coding_is_refused_for_it_whatever_its_type(coding: str) -> None:
    for kind in ("application/json", "text/plain"):
        with pytest.raises(UnsupportedMediaType, match="without Content-Encoding"):
            check_media_type(head(content_type=kind, content_encoding=coding))


@pytest.mark.parametrize("coding", ["", "identity"])
def test_a_coding_that_is_none_is_taken(coding: str) -> None:
    check_media_type(head(content_encoding=coding))
