"""Rules without which generated clients do not compile, or break when a later version of the API adds something."""

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from app import errors, spec
from app.factory import create_app
from tests.support.contract import TOKEN, CannedBackend, Sent, call, lifespan, settings
from tests.support.document import closed

DOCUMENT = spec.published(spec.load())
COMPONENTS = DOCUMENT["components"]
SCHEMAS: dict[str, Any] = COMPONENTS["schemas"]
METHODS = {"get", "put", "post", "delete", "patch"}
OPERATIONS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    operation["operationId"]: (path, method, item, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method in METHODS
}
MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that JavaScript can tell from its neighbours."""
EXPLAINED = re.compile(r"^\| `(x-[a-z-]+)` \|", re.MULTILINE)

each_operation = pytest.mark.parametrize("operation_id", OPERATIONS)


def resolve(node: Any) -> Any:
    while isinstance(node, dict) and "$ref" in node:
        _, _, kind, name = node["$ref"].split("/")
        node = COMPONENTS[kind][name]
    return node


def nodes(node: Any, where: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of the document with its place, but nothing inside an example."""
    if isinstance(node, dict):
        yield where, node
        for key, value in node.items():
            if key not in {"example", "examples"}:
                yield from nodes(value, f"{where}/{key}")
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from nodes(item, f"{where}/{index}")


def collisions(names: Iterable[str]) -> list[list[str]]:
    """The names that a generator makes one of: equal but for case and underscores."""
    found = itertools.groupby(sorted(names, key=plain), plain)
    return [group for _, same in found if len(group := list(same)) > 1]


def plain(name: str) -> str:
    return re.sub("[_-]", "", name).lower()


def answers() -> set[str]:
    """The names of the schemas that are part of a response."""

    def follow(node: Any) -> Iterator[str]:
        for _, found in nodes(node):
            if "$ref" in found and (name := found["$ref"].rpartition("/")[2]) in SCHEMAS:
                yield name
                yield from follow(SCHEMAS[name])

    responses = [operation["responses"] for *_, operation in OPERATIONS.values()]
    return {name for found in responses for response in found.values() for name in follow(resolve(response))}


def test_no_two_names_are_equal_but_for_case_and_underscores() -> None:
    assert collisions(SCHEMAS) == []
    assert collisions(OPERATIONS) == []
    for where, node in nodes(DOCUMENT):
        if isinstance(node.get("properties"), dict) and "description" in node:
            assert collisions(node["properties"]) == [], where
        if "enum" in node:
            assert collisions(map(str, node["enum"])) == [], where


def test_no_parameter_has_the_name_of_a_schema() -> None:
    """Some generators make a type of each, in one name space."""
    assert collisions([*SCHEMAS, *COMPONENTS["parameters"]]) == []


@each_operation
def test_no_two_parameters_of_an_operation_have_names_that_collide(operation_id: str) -> None:
    _, _, item, operation = OPERATIONS[operation_id]
    names = [resolve(found)["name"] for found in [*item["parameters"], *operation.get("parameters", [])]]
    assert collisions(names) == []


def test_a_list_that_may_be_left_out_may_be_empty() -> None:
    """Clients in Java send an empty list for one that nobody has set."""
    members = [
        (where, name, resolve(member))
        for where, node in nodes(DOCUMENT)
        if isinstance(node.get("properties"), dict)
        for name, member in node["properties"].items()
        if name not in node.get("required", [])
    ]
    assert [(where, name) for where, name, member in members if member.get("minItems")] == []


def test_no_schema_has_the_name_of_the_constructor_of_another() -> None:
    assert [name for name in SCHEMAS if name.startswith("New") and name.removeprefix("New") in SCHEMAS] == []


def test_null_is_a_value_only_where_it_has_a_meaning_and_never_of_an_enum() -> None:
    nullable = [where for where, node in nodes(DOCUMENT) if node.get("nullable") is True]
    schemas = "#/components/schemas"
    assert nullable == [
        f"{schemas}/InterruptResult/properties/interrupted",
        f"{schemas}/LabelChanges/additionalProperties",
    ]
    assert [where for where, node in nodes(DOCUMENT) if None in node.get("enum", [])] == []


def test_an_enum_with_a_choice_is_a_component() -> None:
    chosen = {where for where, node in nodes(DOCUMENT) if len(node.get("enum", [])) > 1}
    assert chosen == {
        f"#/components/schemas/{name}" for name, schema in SCHEMAS.items() if len(schema.get("enum", [])) > 1
    }


def test_an_answer_is_open() -> None:
    found = answers()
    assert {"Session", "SessionPage", "Error", "Repo", "Transcript"} <= found
    assert [name for name in found if SCHEMAS[name].get("additionalProperties") is False] == []


def test_a_request_is_closed_unless_agui_decides_what_is_in_it() -> None:
    bodies = [SCHEMAS[name] for name in ("SessionCreate", "SessionUpdate", "MessageCreate", "RunCreate", "RepoCreate")]
    assert all(schema["additionalProperties"] is False for schema in bodies)


def test_our_own_tests_close_the_answers() -> None:
    strict = closed(SCHEMAS)
    assert strict["Session"]["additionalProperties"] is False
    assert strict["AguiEvent"]["additionalProperties"] is True
    assert strict["Session"]["properties"] == SCHEMAS["Session"]["properties"]


def test_a_repository_has_the_same_fields_in_a_request_and_in_an_answer() -> None:
    assert SCHEMAS["Repo"]["properties"].keys() == SCHEMAS["RepoCreate"]["properties"].keys()


def test_the_states_of_answers_have_one_for_those_that_are_not_known() -> None:
    states = [name for name in answers() if name.endswith("Status")]
    assert sorted(states) == ["ApprovalStatus", "ChangeStatus", "RunStatus", "SessionStatus", "ToolCallStatus"]
    assert all(SCHEMAS[name]["enum"][-1] == "unknown" for name in states)


def test_every_integer_has_a_format_and_none_is_too_large_for_javascript() -> None:
    found = [(where, node) for where, node in nodes(DOCUMENT) if node.get("type") == "integer"]
    assert len(found) > 15
    for where, node in found:
        assert node.get("format") in {"int32", "int64"}, where
        largest = node.get("maximum", 0)
        assert largest < 2**31 if node["format"] == "int32" else largest <= MAX_SAFE_INTEGER, where


def test_a_time_has_the_format_of_one() -> None:
    for where, node in nodes(SCHEMAS):
        if node.get("type") == "string" and "RFC 3339" in node.get("description", ""):
            assert node.get("format") == "date-time", where


def test_the_codes_of_errors_are_listed_in_an_open_string() -> None:
    known = {
        found.code for found in vars(errors).values() if isinstance(found, type) and issubclass(found, errors.ApiError)
    }
    code = SCHEMAS["Error"]["properties"]["code"]
    assert "enum" not in code
    assert code["x-extensible-enum"] == sorted(known)


@each_operation
def test_each_error_response_lists_its_codes(operation_id: str) -> None:
    codes = SCHEMAS["Error"]["properties"]["code"]["x-extensible-enum"]
    for status, reference in OPERATIONS[operation_id][3]["responses"].items():
        response = resolve(reference)
        if status[0] not in "23":
            assert response["x-error-codes"], status
            assert set(response["x-error-codes"]) <= set(codes), status


async def test_the_examples_of_an_operation_work_together(tmp_path: Path) -> None:
    """Mock servers and "try it" send the examples of all parameters at once, and the fields' own examples as body."""
    async with lifespan(app := create_app(settings(tmp_path), CannedBackend())):
        for operation_id in OPERATIONS:
            for sent in examples_together(operation_id):
                answer = await call(app, sent)
                assert answer.status < 400, (operation_id, answer.body)


def examples_together(operation_id: str) -> Iterator[Sent]:
    path, method, item, operation = OPERATIONS[operation_id]
    given = [resolve(found) for found in [*item["parameters"], *operation.get("parameters", [])]]
    query = urlencode([(found["name"], found["example"]) for found in given if found["in"] == "query"], doseq=True)
    names = {found["name"]: str(found["example"]) for found in given if found["in"] != "query"}
    headers = [(found["name"], names[found["name"]]) for found in given if found["in"] == "header"]
    bodies = [b""]
    if body := operation.get("requestBody", {}).get("content", {}).get("application/json"):
        schema = resolve(body["schema"])
        fields = {name: resolve(field) for name, field in schema["properties"].items()}
        together = {name: field["example"] for name, field in fields.items() if "example" in field}
        bodies = [json.dumps(example["value"]).encode() for example in body["examples"].values()]
        bodies += [json.dumps(together).encode()] if set(schema.get("required", [])) <= together.keys() else []
    for content in bodies:
        target = f"/v1{path.format(**names)}?{query}"
        yield Sent(method.upper(), target, (("Authorization", TOKEN), *headers), content)


def test_an_extension_is_explained_or_not_published() -> None:
    used = {key for _, node in nodes(DOCUMENT) for key in node if key.startswith("x-")}
    contributing = (spec.OPENAPI.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    internal = {name for _, node in nodes(spec.load()) for name in node if name.startswith("x-")} - used
    assert internal == {"x-aliases", "x-key-words", "x-pattern-words"}
    assert set(EXPLAINED.findall(contributing)) == used | internal


def test_the_manual_explains_the_extensions_that_are_published() -> None:
    used = {key for _, node in nodes(DOCUMENT) for key in node if key.startswith("x-")}
    assert set(EXPLAINED.findall(spec.manual()["versions-and-deprecation"])) == used


def test_the_description_is_a_summary_that_generators_can_copy_into_every_file() -> None:
    """A generator writes `info.description` at the top of each file; the manual is served by itself."""
    assert len(DOCUMENT["info"]["description"].splitlines()) <= 10
    assert "/v1/docs" in DOCUMENT["info"]["description"]
    assert DOCUMENT["info"]["contact"]
    assert DOCUMENT["externalDocs"]["url"].endswith("/v1/docs")


def test_a_client_finds_a_server_by_an_absolute_address() -> None:
    relative, absolute = (server["url"] for server in DOCUMENT["servers"])
    assert relative == "/v1"
    assert absolute == "http://127.0.0.1:8081/v1"


def test_a_stream_names_the_schema_of_its_events() -> None:
    assert SCHEMAS["EventFrames"]["type"] == "string"
    assert resolve({"$ref": SCHEMAS["EventFrames"]["x-event-schema"]}) is SCHEMAS["AguiEvent"]
