"""The document: complete, exact, used, and true to the types and errors of the code."""

import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from connexion.spec import Specification
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import validate

from app import errors, spec
from app.models import approvals, caller, output, runs, sessions, wire, workspaces
from app.models.wire import WireModel
from tests.support.document import closed

DOCUMENT = spec.load()
MANUAL = "\n".join(spec.manual().values())
COMPONENTS = DOCUMENT["components"]
SCHEMAS: dict[str, Any] = COMPONENTS["schemas"]
CLOSED = closed(COMPONENTS)
"""Without fields that no schema names, of which the published document allows more in a response."""
METHODS = {"get", "put", "post", "delete", "patch"}
OPERATIONS = {
    operation["operationId"]: (path, method, item, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method in METHODS
}
ROLES = {
    "whoami": "view",
    "list_agents": "view",
    "list_sessions": "view",
    "create_session": "edit",
    "get_session": "view",
    "update_session": "edit",
    "delete_session": "admin",
    "send_message": "edit",
    "create_run": "edit",
    "list_runs": "view",
    "get_run": "view",
    "cancel_run": "edit",
    "list_approvals": "view",
    "answer_approval": "edit",
    "run_agent": "edit",
    "get_session_output": "view",
    "get_session_logs": "view",
    "stream_session_events": "view",
    "start_session": "edit",
    "stop_session": "edit",
    "interrupt_session": "edit",
    "list_workspace_files": "view",
    "read_workspace_file": "view",
    "write_workspace_file": "edit",
    "get_workspace_archive": "view",
    "get_workspace_diff": "view",
    "get_workspace_patch": "view",
    "push_workspace": "edit",
}
OPEN = {"AguiContext", "AguiEvent", "AguiMessage", "AguiResume", "AguiTool", "RunAgentInput"}
IDEMPOTENT = {"create_session", "send_message", "create_run", "push_workspace"}
STREAMS = {"stream_session_events", "run_agent"}
FILES = {"read_workspace_file", "get_workspace_archive", "get_workspace_patch"}
"""Operations whose response is to be saved as a file."""
WORKSPACE = {name for name in ROLES if "workspace" in name}
BINARY = "application/octet-stream"
MEDIA_TYPES = {
    "get_session_logs": "text/plain",
    **dict.fromkeys(STREAMS, "text/event-stream"),
    **dict.fromkeys(FILES, BINARY),
}
CONDITIONAL = {"get_session_output", "list_runs", "get_run", "read_workspace_file"}
WITH_POSITIONS = {"get_session_output", "stream_session_events"}
ALWAYS = {"400", "401", "403", "405", "429", "431", "500", "502", "503", "504", "default"}
OPTIONAL = {"Attachment", "Limits", "SessionUpdate", "Usage"}
"""Schemas that require nothing."""
MODELS = {
    name: found
    for module in (approvals, output, runs, sessions, wire, workspaces)
    for name, found in vars(module).items()
}
TYPED = [name for name in SCHEMAS if name in MODELS]

ERRORS = [found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, errors.ApiError)]

each_operation = pytest.mark.parametrize("operation_id", OPERATIONS)


def resolve(node: Any) -> Any:
    while isinstance(node, dict) and "$ref" in node:
        _, _, kind, name = node["$ref"].split("/")
        node = COMPONENTS[kind][name]
    return node


def walk(node: Any, where: str = "#") -> Iterator[tuple[str, Any]]:
    """Every object of the document with its place, but nothing inside the value of an example."""
    if isinstance(node, dict):
        yield where, node
        for key, value in node.items():
            if key != "example" and not (key == "value" and "/examples/" in where):
                yield from walk(value, f"{where}/{key}")
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from walk(item, f"{where}/{index}")


def judge(schema: Any) -> OAS30Validator:
    return OAS30Validator({**closed(schema), "components": CLOSED}, format_checker=OAS30Validator.FORMAT_CHECKER)


def schemas_in(node: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A schema and all that are written inside it."""
    yield where, node
    for name, child in node.get("properties", {}).items():
        yield from schemas_in(child, f"{where}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield from schemas_in(node[key], f"{where}[]")


def responses(operation_id: str) -> dict[str, Any]:
    return {status: resolve(found) for status, found in OPERATIONS[operation_id][3]["responses"].items()}


def failures(operation_id: str) -> dict[str, Any]:
    return {status: found for status, found in responses(operation_id).items() if status[0] not in "23"}


def parameters() -> Iterator[tuple[str, dict[str, Any]]]:
    for where, node in walk(DOCUMENT):
        if "in" in node and "schema" in node:
            yield where, node


def test_a_standard_validator_accepts_the_document() -> None:
    validate(DOCUMENT)


def test_connexion_accepts_the_document() -> None:
    assert Specification.load(spec.load()).version == (3, 0, 3)


def test_the_operations_are_exactly_those_of_this_version_with_their_roles() -> None:
    assert {name: operation["x-role"] for name, (_, _, _, operation) in OPERATIONS.items()} == ROLES


def test_the_version_is_the_project_s() -> None:
    project = tomllib.loads((spec.OPENAPI.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert DOCUMENT["info"]["version"] == project["version"]


def test_every_file_is_reachable_and_every_url_has_the_file_of_its_name() -> None:
    def files(folder: str) -> set[str]:
        return {file.stem for file in (spec.OPENAPI / folder).glob("*.yaml")}

    shared = {"parameters", "responses", "headers", "examples", "links"}

    def keys(name: str) -> set[str]:
        return set(yaml.safe_load((spec.OPENAPI / f"{name}.yaml").read_text(encoding="utf-8")))

    assert files("schemas") == set(SCHEMAS)
    assert files("paths") == {path.strip("/").replace("/", "_") for path in DOCUMENT["paths"]}
    assert files(".") == {"openapi", *shared}
    for kind in shared:
        assert keys(kind) == set(COMPONENTS[kind])
    texts = {file for file in spec.OPENAPI.rglob("*") if file.is_file() and file.suffix != ".yaml"}
    assert texts == set((spec.OPENAPI / "manual").glob("*.md"))


def test_every_component_is_used() -> None:
    used = {node["$ref"] for _, node in walk(DOCUMENT) if "$ref" in node}
    schemes = {f"#/components/securitySchemes/{name}" for wanted in DOCUMENT["security"] for name in wanted}
    mapped = {ref for _, node in walk(DOCUMENT) if "propertyName" in node for ref in node["mapping"].values()}
    assert mapped <= used
    assert used | schemes == {f"#/components/{kind}/{name}" for kind, found in COMPONENTS.items() for name in found}


def test_no_schema_leads_back_to_itself() -> None:
    def descend(name: str, above: tuple[str, ...]) -> None:
        assert name not in above
        for _, node in walk(SCHEMAS[name]):
            if "$ref" in node:
                descend(node["$ref"].rsplit("/", 1)[1], (*above, name))

    for name in SCHEMAS:
        descend(name, ())


def test_no_text_is_taken_for_a_template() -> None:
    for file in filter(Path.is_file, spec.OPENAPI.rglob("*")):
        assert not re.search(r"\{\{|\{%|\{#", file.read_text(encoding="utf-8")), file


def test_literal_paths_stand_before_those_with_a_parameter_in_the_same_place() -> None:
    paths = [path.split("/") for path in DOCUMENT["paths"]]
    for number, later in enumerate(paths):
        for earlier in paths[:number]:
            same = len(earlier) == len(later) and all(
                a == b or a.startswith("{") for a, b in zip(earlier, later, strict=True)
            )
            assert not same, f"{'/'.join(earlier)} hides {'/'.join(later)}"


@each_operation
def test_an_operation_is_described_tagged_and_has_one_success(operation_id: str) -> None:
    _, _, item, operation = OPERATIONS[operation_id]
    assert operation["summary"]
    assert operation["description"]
    assert [tag in {known["name"] for known in DOCUMENT["tags"]} for tag in operation["tags"]] == [True]
    ranges = ["200", "206"] if operation_id == "read_workspace_file" else None
    successes = [status for status in operation["responses"] if status < "300"]
    assert successes == (ranges or successes[:1])
    assert {"$ref": "#/components/parameters/project"} in item["parameters"]


@each_operation
def test_an_operation_documents_every_status_that_it_can_send(operation_id: str) -> None:
    path, method, _, _ = OPERATIONS[operation_id]
    wanted = set(ALWAYS)
    if method != "get":  # a body is read, and refused, even where none is described
        wanted |= {"408", "413", "415", "507"}
    if "{" in path:
        wanted |= {"404"}
    with_409 = {"update_session", "cancel_run", "run_agent", "start_session", "stop_session"}
    if operation_id in IDEMPOTENT | WITH_POSITIONS | with_409:
        wanted |= {"409"}
    if operation_id == "answer_approval":
        wanted |= {"409"}
    wanted |= {"409", "422"} if operation_id in WORKSPACE else set()
    wanted |= {"416"} if operation_id == "read_workspace_file" else set()
    moves = {"update_session", "start_session", "stop_session"}
    approvals = {"create_session", "list_agents", "list_approvals", "answer_approval"}
    if (
        operation_id
        in {"send_message", "create_run", "cancel_run", "run_agent", "get_session_logs"} | moves | approvals
    ):
        wanted |= {"422"}
    assert set(failures(operation_id)) == wanted
    assert ("304" in responses(operation_id)) is (operation_id in CONDITIONAL)


@each_operation
def test_a_response_has_its_headers_and_examples_and_a_failure_is_an_error(operation_id: str) -> None:
    special = {
        "201": "Location",
        "401": "WWW-Authenticate",
        "405": "Allow",
        "429": "Retry-After",
        "503": "Retry-After",
    }
    if operation_id in {"send_message", "create_run"}:
        special["202"] = "Location"
    for status, response in responses(operation_id).items():
        extra = {special[status]} if status in special else set()
        if operation_id in IDEMPOTENT and status.startswith("2"):
            extra |= {"Idempotency-Replayed"}
        extra |= {"Cache-Control"} if operation_id in STREAMS and status == "200" else set()
        extra |= {"ETag"} if operation_id in CONDITIONAL and status in {"200", "206", "304"} else set()
        extra |= {"ETag"} if operation_id == "write_workspace_file" and status == "204" else set()
        extra |= {"Content-Disposition"} if operation_id in FILES and status in {"200", "206"} else set()
        extra |= {"Accept-Ranges"} if operation_id == "read_workspace_file" and status in {"200", "206"} else set()
        extra |= {"Content-Range"} if status in {"206", "416"} else set()
        assert set(response["headers"]) == {"X-Request-ID"} | extra
        if status in {"204", "304"}:
            assert "content" not in response
            continue
        [(media_type, content)] = response["content"].items()
        is_success = status in {"200", "206"}
        assert media_type == (MEDIA_TYPES.get(operation_id, "application/json") if is_success else "application/json")
        assert media_type == BINARY or content["examples"]
        if status in failures(operation_id):
            assert response["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}


@each_operation
def test_a_request_body_is_required_json_with_examples(operation_id: str) -> None:
    operation = OPERATIONS[operation_id][3]
    if body := operation.get("requestBody"):
        assert body["required"] is True
        [(media_type, content)] = body["content"].items()
        assert media_type == (BINARY if operation_id == "write_workspace_file" else "application/json")
        assert media_type == BINARY or content["examples"]


@each_operation
def test_a_link_gives_each_path_parameter_of_the_operation_it_leads_to(operation_id: str) -> None:
    for response in responses(operation_id).values():
        for link in map(resolve, response.get("links", {}).values()):
            path, _, item, operation = OPERATIONS[link["operationId"]]
            known = {resolve(found)["name"] for found in item["parameters"] + operation.get("parameters", [])}
            assert set(re.findall(r"\{(\w+)\}", path)) <= set(link["parameters"]) <= known


def test_every_example_fits_its_schema() -> None:
    """Examples of media types, parameters, headers and of schemas themselves."""
    count = 0
    for where, node in walk(DOCUMENT):
        given = [resolve(example)["value"] for example in node.get("examples", {}).values()]
        given += [node["example"]] if "example" in node else []
        for value in given:
            count += 1
            problems = [error.message for error in judge(node.get("schema", node)).iter_errors(value)]
            assert not problems, f"{where}: {problems}"
    assert count > 100


@each_operation
def test_an_error_example_has_a_code_of_that_status(operation_id: str) -> None:
    known = {(found.code, str(found.status)) for found in ERRORS}
    for status, response in failures(operation_id).items():
        for example in response["content"]["application/json"]["examples"].values():
            assert status == "default" or (resolve(example)["value"]["code"], status) in known


def test_an_error_example_has_the_text_that_is_sent() -> None:
    texts = {found.code: (found.__doc__ or "").splitlines()[0] for found in ERRORS}
    examples = yaml.safe_load((spec.OPENAPI / "examples.yaml").read_text(encoding="utf-8"))
    for name, example in examples.items():
        if name in texts.keys() - {"invalid_request", "backend_error"}:  # those have texts of their own
            assert example["value"]["error"] == texts[name]


def test_an_error_example_has_the_message_of_the_error() -> None:
    messages = {inspect.cleandoc(found.__doc__ or "").splitlines()[0] for found in ERRORS}
    specific = {"invalid_request", "content_encoding", "backend_error"}
    for name, example in COMPONENTS["examples"].items():
        assert name in specific or example["value"]["error"] in messages, name


def test_the_manual_lists_every_error_code() -> None:
    listed = set(re.findall(r"^\| (?:\d+|any) \| `(\w+)` \|", MANUAL, re.MULTILINE))
    assert listed == {found.code for found in ERRORS}


def test_the_manual_explains_each_role_and_each_state() -> None:
    for value in (*caller.Role, *sessions.SessionStatus, *runs.RunStatus, *output.OutputFormat):
        assert f"`{value}`" in MANUAL


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_and_everything_in_it_is_described(name: str) -> None:
    for where, node in schemas_in(SCHEMAS[name], name):
        assert resolve(node).get("description"), where


def test_every_parameter_is_described_and_has_an_example() -> None:
    found = dict(parameters())
    assert len(found) > 8
    for where, parameter in found.items():
        assert parameter["description"], where
        assert "example" in parameter, where


@pytest.mark.parametrize("name", [name for name in SCHEMAS if name not in OPEN])
def test_an_object_names_its_fields_and_what_it_requires(name: str) -> None:
    schema = SCHEMAS[name]
    if schema.get("type") == "object" and "x-key-pattern" not in schema:
        assert ("required" in schema) == (name not in OPTIONAL)
        assert set(schema.get("required", [])) <= set(schema["properties"])


@pytest.mark.parametrize("name", TYPED)
def test_a_schema_has_the_fields_of_the_class_of_its_name(name: str) -> None:
    schema, found = SCHEMAS[name], MODELS[name]
    if schema["type"] == "string":
        assert schema["enum"] == [member.value for member in found]
        return
    fields = msgspec.structs.fields(found)
    assert set(schema["properties"]) == {field.encode_name for field in fields}
    assert set(schema.get("required", [])) == {field.encode_name for field in fields if field.required}


def test_every_class_on_the_wire_has_a_schema() -> None:
    on_the_wire = {name for name, found in MODELS.items() if isinstance(found, type) and issubclass(found, WireModel)}
    assert on_the_wire - {"WireModel"} <= set(TYPED)
