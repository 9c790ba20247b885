"""The document as the renderer of the reference gets it."""

import re
from typing import Any

import pytest

from app import spec
from app.web import reference

PUBLISHED = spec.published(spec.load())
RENDERED = reference.rendered(PUBLISHED)


def operation(rendered: dict[str, Any], operation_id: str) -> dict[str, Any]:
    operations = [found for path in rendered["paths"].values() for found in path.values() if isinstance(found, dict)]
    [found] = [found for found in operations if found.get("operationId") == operation_id]
    return dict(found)


def sample(operation_id: str) -> str:
    [found] = operation(RENDERED, operation_id)["x-codeSamples"]
    assert (found["lang"], found["label"]) == ("TypeScript", "TypeScript")
    return str(found["source"])


def test_the_published_document_stays_as_it_is() -> None:
    assert spec.published(spec.load()) == PUBLISHED


def test_the_title_of_each_chapter_makes_the_fragment_that_has_its_name() -> None:
    titles = re.findall("^# (.*)$", RENDERED["info"]["description"], re.MULTILINE)

    assert set(spec.manual()) <= {re.sub("[^a-z]+", "-", title.lower()) for title in titles}


def test_trying_an_operation_sends_no_example_of_an_optional_parameter() -> None:
    project = RENDERED["components"]["parameters"]["project"]
    session = RENDERED["components"]["parameters"]["session_in_path"]

    assert project["examples"] == {"example": {"value": "demo", "x-disabled": True}}
    assert "example" not in {**project, **project["schema"]}
    assert session["example"] == "session-1764000000"


@pytest.mark.parametrize(
    ("operation_id", "call"),
    [
        ("whoami", "const { data, error } = await whoami();"),
        ("get_session", 'await getSession({\n  path: {\n    session_id: "session-1764000000"\n  }\n});'),
        ("send_message", "  body: {\n    content: "),
        ("stream_session_events", "const { stream } = await streamSessionEvents("),
    ],
)
def test_an_operation_has_a_sample_in_typescript(operation_id: str, call: str) -> None:
    assert call in sample(operation_id)


def test_a_body_that_is_not_json_is_a_file_in_a_sample() -> None:
    body: dict[str, Any] = {"content": {"application/octet-stream": {}}}
    write: dict[str, Any] = {"operationId": "write_file", "requestBody": body, "responses": {}}
    document = {"info": {}, "paths": {"/file": {"put": write}}}

    [found] = operation(reference.rendered(document), "write_file")["x-codeSamples"]
    assert found["source"].endswith("await writeFile({\n  body: new Blob([])\n});")
