"""Strict JSON, and what reads as absent."""

import json
import tracemalloc
from collections.abc import Callable

import pytest

from app.contract.input import MAX_DEPTH, JsonBody, check_media_type, parse_json
from app.errors import BadRequest, UnsupportedMediaType
from app.server.request import RequestContext
from tests.support.asgi import request_context

SCHEMA = {
    "type": "object",
    "required": ["task"],
    "additionalProperties": False,
    "properties": {
        "task": {"type": "string", "pattern": r"\S", "x-pattern-words": "must not be blank"},
        "display_name": {"type": "string"},
        "state": {},
        "repos": {
            "type": "array",
            "maxItems": 100,
            "items": {
                "type": "object",
                "required": ["url"],
                "additionalProperties": False,
                "properties": {"url": {"type": "string"}, "branch": {"type": "string"}},
            },
        },
        "notes": {"type": "array", "items": {"type": "object", "required": ["text"]}},
        "tags": {"type": "object", "maxProperties": 50, "additionalProperties": {"type": "string"}},
        "active_workflow": {
            "type": "object",
            "x-aliases": {"gitUrl": "git_url"},
            "properties": {"git_url": {"type": "string", "minLength": 2}},
        },
    },
    "x-aliases": {"activeWorkflow": "active_workflow"},
}


def body(*, required: bool = True) -> JsonBody:
    return JsonBody({"required": required, "content": {"application/json": {"schema": SCHEMA}}})


def members(count: int) -> bytes:
    return b",".join(b'"m%d": 1' % number for number in range(count))


def problems(content: bytes) -> list[tuple[str, str]]:
    with pytest.raises(BadRequest) as caught:
        body().parse(content)
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
    value = body().parse(b'{"task": "t", "display_name": "", "state": null, "repos": [{"url": "u", "branch": null}]}')
    assert value == {"task": "t", "repos": [{"url": "u"}]}


def test_free_form_members_keep_their_nulls_and_empty_strings() -> None:
    value = body().parse(b'{"task": "t", "state": {"a": null, "b": ""}}')
    assert value == {"task": "t", "state": {"a": None, "b": ""}}


@pytest.mark.parametrize("content", [b"{}", b'{"task": null}'])
def test_a_required_member_is_named_when_it_is_absent(content: bytes) -> None:
    assert problems(content) == [("body.task", "is required")]


def test_every_problem_is_named_with_its_location_and_no_value_is_echoed() -> None:
    found = problems(b'{"task": "  ", "bogus": "secret", "repos": [{"url": "u"}, {"url": 7, "x": null}]}')
    assert sorted(found) == [
        ("body.bogus", "is not known here"),
        ("body.repos[1].url", "must be a string"),
        ("body.repos[1].x", "is not known here"),
        ("body.task", "must not be blank"),
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"task": 7, "repos": [%s]}' % b",".join([b"{}"] * 101), ("body.repos", "must have at most 100 items")),
        (b'{"notes": [%s]}' % b",".join([b"{}"] * 10_001), ("body.notes", "must have at most 10000 items")),
        (b'{"tags": {%s}}' % members(51), ("body.tags", "must have at most 50 members")),
        (b"{%s}" % members(1001), ("body", "must have at most 1000 members")),
    ],
)
def test_sizes_are_checked_before_anything_else(content: bytes, problem: tuple[str, str]) -> None:
    assert problems(content) == [problem]


def test_free_form_members_have_no_size_of_their_own() -> None:
    state = [0] * 20_000
    value = body().parse(json.dumps({"task": "t", "state": {"items": state}}).encode())
    assert value["state"] == {"items": state}


@pytest.mark.parametrize(
    ("content", "times"),
    [
        (b'{"task": "t", "repos": [%s]}', 1.5),
        (b'{"task": "t", "notes": [%s]}', 1.5),
        (b'{"task": "t", "state": 1, "x": [%s]}', 2),  # the error has a copy of the value
    ],
)
def test_a_large_wrong_body_costs_little_more_than_reading_it(content: bytes, times: float) -> None:
    content %= b",".join([b"{}"] * 20_000)
    assert len(problems(content)) == 1
    assert peak_bytes(problems, content) < times * peak_bytes(parse_json, content)


def peak_bytes(work: Callable[[bytes], object], content: bytes) -> int:
    """The most memory that this takes, the least of three times: other threads may take some meanwhile."""
    peaks = []
    for _ in range(3):
        tracemalloc.start()
        try:
            work(content)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return min(peaks)


def test_a_member_has_its_documented_name_whatever_name_it_was_sent_under() -> None:
    value = body().parse(b'{"task": "t", "activeWorkflow": {"gitUrl": "url"}}')
    assert value == {"task": "t", "active_workflow": {"git_url": "url"}}
    assert problems(b'{"task": "t", "activeWorkflow": {"gitUrl": "u"}}') == [
        ("body.active_workflow.git_url", "must have at least 2 characters")
    ]


def test_a_member_under_two_names_is_refused_unless_one_reads_as_absent() -> None:
    found = problems(b'{"task": "t", "activeWorkflow": {}, "active_workflow": {}}')
    assert found == [("body.active_workflow", "must be given under one name only")]
    assert body().parse(b'{"task": "t", "activeWorkflow": null, "active_workflow": {}}')["active_workflow"] == {}


def test_an_optional_body_may_be_missing() -> None:
    assert body(required=False).parse(b"") is None


def head(**headers: str) -> RequestContext:
    return request_context(*((name.replace("_", "-"), value) for name, value in headers.items()))


@pytest.mark.parametrize(
    "kind", ["application/json", "APPLICATION/JSON ; Charset=UTF-8", 'application/json;charset="utf-8"']
)
def test_json_is_accepted_however_its_type_is_spelled(kind: str) -> None:
    check_media_type(head(content_type=kind))


def test_a_body_without_a_type_is_read_as_json() -> None:
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
def test_the_identity_coding_is_accepted(coding: str) -> None:
    check_media_type(head(content_encoding=coding))
