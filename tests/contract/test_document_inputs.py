"""Input that the document accepts: bounds, absent values, names and ids, by the validator that the server uses."""

import re
import uuid
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from openapi_schema_validator import OAS30Validator

from app import spec
from app.contract.input import DIGITS
from tests.support.document import inlined

DOCUMENT = inlined(spec.load())
COMPONENTS = DOCUMENT["components"]
SCHEMAS: dict[str, Any] = COMPONENTS["schemas"]
REQUESTS = [
    "SessionCreate",
    "SessionUpdate",
    "MessageCreate",
    "RunCreate",
    "RunMessage",
    "Resume",
    "ApprovalAnswer",
    "RepoCreate",
    "Workflow",
]
MAPS = ["Labels", "LabelChanges"]

UUID = "0a3f9c52-5b1e-4a57-9d0c-6a5f5f5b7c11"
PLAIN = UUID.replace("-", "").upper()
SPELLINGS = [UUID, UUID.upper(), PLAIN, f"urn:uuid:{UUID}", f"urn:uuid:{PLAIN}", f"{{{UUID}}}", f"{{{PLAIN}}}"]
NO_UUIDS = ["x", UUID + "\n", " " + UUID, UUID[:-1], UUID + "0", "{" + UUID, UUID + "}", UUID.replace("-", "--", 1)]

each_request = pytest.mark.parametrize("name", REQUESTS)


def judge(schema: Any) -> OAS30Validator:
    return OAS30Validator({**schema, "components": COMPONENTS})


def text(schema: dict[str, Any]) -> jsonschema_rs.Draft4Validator:
    """The rules for a text, as the server applies them."""
    rules: dict[str, Any] = {key: schema[key] for key in ("minLength", "maxLength", "pattern") if key in schema}
    return jsonschema_rs.Draft4Validator(rules, pattern_options=jsonschema_rs.RegexOptions())


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from nodes(item)


def inside(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A schema and those that are written inside it."""
    yield schema
    children = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    for child in children:
        if isinstance(child, dict):
            yield from inside(child)


def query(name: str) -> dict[str, Any]:
    return next(node["schema"] for node in nodes(DOCUMENT) if node.get("name") == name and node.get("in") == "query")


@pytest.mark.parametrize("name", REQUESTS + MAPS)
def test_texts_and_collections_are_bounded_and_a_text_holds_no_nul(name: str) -> None:
    for schema in inside(SCHEMAS[name]):
        if schema.get("type") == "string" and "enum" not in schema:
            assert schema["maxLength"] <= 1_000_000
            assert not text(schema).is_valid("a\0b")
        if schema.get("type") == "array":
            assert schema["maxItems"] <= 1_000
        if "x-key-pattern" in schema:
            assert schema["maxProperties"] <= 1_000


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("SessionCreate", "task"),
        ("MessageCreate", "content"),
        ("RunMessage", "content"),
        ("RepoCreate", "url"),
        ("Workflow", "git_url"),
    ],
)
def test_a_required_text_is_not_blank(name: str, field: str) -> None:
    rules = text(SCHEMAS[name]["properties"][field])
    for value in ("x", " x\n", "a\nb", "\u00e9"):
        assert rules.is_valid(value)
    for value in ("", " ", "\n\t ", "\0", " \0", "x\0"):
        assert not rules.is_valid(value)


@each_request
def test_a_value_that_is_no_object_breaks_one_rule(name: str) -> None:
    for value in ("x", 1, True, ["x"]):
        assert [error.validator for error in judge(SCHEMAS[name]).iter_errors(value)] == ["type"]


def test_an_other_name_leads_to_a_member_and_is_none_itself() -> None:
    found = []
    for name, schema in SCHEMAS.items():
        for other, member in schema.get("x-aliases", {}).items():
            found.append(f"{name}.{other}")
            assert member in schema["properties"]
            assert other not in schema["properties"]
    assert found == ["SessionCreate.activeWorkflow", "SessionCreate.environmentVariables", "Workflow.gitUrl"]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_uuid_is_accepted_in_each_standard_spelling(spelling: str) -> None:
    assert uuid.UUID(spelling) == uuid.UUID(UUID)
    assert text(COMPONENTS["parameters"]["only_run"]["schema"]).is_valid(spelling)
    assert text(SCHEMAS["RunCreate"]["properties"]["run_id"]).is_valid(spelling)


@pytest.mark.parametrize("spelling", NO_UUIDS)
def test_anything_but_a_uuid_is_refused(spelling: str) -> None:
    assert not text(COMPONENTS["parameters"]["only_run"]["schema"]).is_valid(spelling)
    assert not text(SCHEMAS["RunCreate"]["properties"]["run_id"]).is_valid(spelling)


def test_an_integer_in_text_has_bounds_of_fewer_digits_than_are_read_of_a_long_one() -> None:
    schemas = [node["schema"] for node in nodes(DOCUMENT) if "in" in node and "schema" in node]
    found = [schema for schema in schemas if schema.get("type") == "integer"]
    assert len(found) > 4
    for schema in found:
        assert len(str(schema["minimum"])) < DIGITS - 1
        assert len(str(schema["maximum"])) < DIGITS - 1


@pytest.mark.parametrize("parameter", ["session_in_path", "project"])
def test_a_name_is_a_dns_label(parameter: str) -> None:
    label = text(COMPONENTS["parameters"][parameter]["schema"])
    assert all(label.is_valid(name) for name in ("a", "0", "a-b", "a" * 63))
    assert not any(label.is_valid(name) for name in ("-a", "a-", "A", "a.b", "a" * 64, "a\n", "a/b"))
    assert not label.is_valid("")


def test_a_run_id_in_the_path_is_free_text_without_slash_and_control_characters() -> None:
    run = text(COMPONENTS["parameters"]["run_in_path"]["schema"])
    assert all(run.is_valid(name) for name in ("r", "Run 1:\u00e9", "x" * 255))
    assert not any(run.is_valid(name) for name in ("", "a/b", "a\n", "\x7f", "\x85", "a\0", "x" * 256))


def test_names_of_environment_variables_follow_the_key_pattern() -> None:
    pattern = SCHEMAS["SessionCreate"]["properties"]["environment_variables"]["x-key-pattern"]
    rules = text({"pattern": pattern})
    assert all(rules.is_valid(name) for name in ("A", "_", "a_1"))
    assert not any(rules.is_valid(name) for name in ("", "1A", "A-B", "A=B", "A\n", "\u00c4"))


@pytest.mark.parametrize("name", MAPS)
def test_labels_follow_the_syntax_of_kubernetes(name: str) -> None:
    key, value = text({"pattern": SCHEMAS[name]["x-key-pattern"]}), text(SCHEMAS[name]["additionalProperties"])
    assert all(key.is_valid(one) for one in ("a", "A.b_c-d", "x" * 63, "example.com/team", "a/b", "1.2-3/Z"))
    bad = ("", "-a", "a-", "x" * 64, "/a", "a/", "a/b/c", "A.com/a", "a..b/c", "a b", "a\n", "\u00e9", "a=b")
    assert not any(key.is_valid(one) for one in bad)
    assert all(value.is_valid(one) for one in ("", "a", "A.b_c-d", "x" * 63))
    assert not any(value.is_valid(one) for one in ("-a", "a-", "x" * 64, "a/b", "a b", "a\n", "\u00e9"))


def test_a_label_to_filter_by_is_a_key_and_a_value() -> None:
    label = text(query("label")["items"])
    assert all(label.is_valid(one) for one in ("a=", "team=checkout", "example.com/team=a.b"))
    assert not any(label.is_valid(one) for one in ("", "a", "=a", "a==b", "a=b=c", "a!=b", "a=b\n", "a= b"))


def test_a_map_has_words_for_the_names_that_it_accepts() -> None:
    maps = [node for node in nodes(SCHEMAS) if "x-key-pattern" in node]
    assert len(maps) >= 3
    assert all("x-key-words" in found for found in maps)


def test_every_pattern_is_anchored_and_understood_by_each_regex_engine() -> None:
    patterns = {node[key] for node in nodes(DOCUMENT) for key in ("pattern", "x-key-pattern") if key in node}
    assert len(patterns) > 5
    for pattern in patterns:
        assert pattern.startswith("^")
        assert pattern.endswith("$")
        assert "(?" not in pattern
        re.compile(pattern)
        text({"pattern": pattern})
