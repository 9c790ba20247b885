"""The bundler: many small files become one self-contained document, or an error that names the file."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from app import spec

FILES = {
    "openapi.yaml": "openapi: 3.0.3\npaths:\n  /pets:\n    $ref: paths/pets.yaml\n",
    "paths/pets.yaml": (
        "get:\n"
        "  parameters:\n    - $ref: ../parameters.yaml#/limit\n"
        "  responses:\n    '200':\n      $ref: ../responses.yaml#/Pets\n"
    ),
    "parameters.yaml": "limit:\n  name: limit\n  in: query\n",
    "responses.yaml": "Pets:\n  description: |\n    All pets,\n    no more.\n  schema:\n    $ref: schemas/Pets.yaml\n",
    "schemas/Pets.yaml": "type: array\nitems:\n  $ref: Pet.yaml\n",
    "schemas/Pet.yaml": "type: object\nproperties:\n  name:\n    type: string\n",
}


def write(directory: Path, **changed: str) -> Path:
    for name, text in (FILES | changed).items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return directory


def references(node: Any) -> list[str]:
    match node:
        case {"$ref": str(ref)}:
            return [ref]
        case dict():
            return [ref for value in node.values() for ref in references(value)]
        case list():
            return [ref for item in node for ref in references(item)]
    return []


def test_path_items_are_inlined_and_all_else_becomes_a_named_component(tmp_path: Path) -> None:
    assert spec.load(write(tmp_path)) == {
        "openapi": "3.0.3",
        "paths": {
            "/pets": {
                "get": {
                    "parameters": [{"$ref": "#/components/parameters/limit"}],
                    "responses": {"200": {"$ref": "#/components/responses/Pets"}},
                }
            }
        },
        "components": {
            "schemas": {
                "Pet": {"type": "object", "properties": {"name": {"type": "string"}}},
                "Pets": {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}},
            },
            "parameters": {"limit": {"name": "limit", "in": "query"}},
            "responses": {
                "Pets": {"description": "All pets,\nno more.\n", "schema": {"$ref": "#/components/schemas/Pets"}}
            },
        },
    }


def test_a_schema_may_lead_back_to_itself(tmp_path: Path) -> None:
    text = "type: object\nproperties:\n  parent:\n    $ref: Pet.yaml\n"
    document = spec.load(write(tmp_path, **{"schemas/Pet.yaml": text}))
    assert document["components"]["schemas"]["Pet"]["properties"]["parent"] == {"$ref": "#/components/schemas/Pet"}


def test_the_real_document_is_self_contained_and_each_reference_leads_somewhere() -> None:
    document = spec.load()
    found = set(references(document))
    assert len(found) > 20
    for ref in found:
        assert ref.startswith("#/components/")
        _, _, kind, name = ref.split("/")
        assert document["components"][kind][name]


def test_loading_twice_gives_the_same_bytes() -> None:
    assert spec.as_json(spec.load()) == spec.as_json(spec.load())


def test_json_and_yaml_are_the_same_document() -> None:
    document = spec.load()
    assert json.loads(spec.as_json(document)) == document
    assert yaml.safe_load(spec.as_yaml(document)) == document


def test_yaml_has_texts_of_several_lines_as_blocks_and_no_anchors(tmp_path: Path) -> None:
    document = spec.load(write(tmp_path))
    shared = {"a": 1}
    text = spec.as_yaml(document | {"x-one": shared, "x-two": shared})
    assert "      description: |\n        All pets,\n        no more.\n" in text
    assert "x-one:\n  a: 1\nx-two:\n  a: 1\n" in text


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("schemas/Pets.yaml", "items:\n  $ref: Cat.yaml\n", "schemas/Pets.yaml: $ref 'Cat.yaml': no such file"),
        (
            "paths/pets.yaml",
            "get:\n  $ref: ../responses.yaml#/Cats\n",
            "paths/pets.yaml: $ref '../responses.yaml#/Cats': the file has no such key",
        ),
        (
            "paths/pets.yaml",
            "get:\n  $ref: ../responses.yaml\n",
            "paths/pets.yaml: $ref '../responses.yaml': neither a path item nor a component",
        ),
        (
            "schemas/Pets.yaml",
            "items:\n  $ref: '#/components/schemas/Pet'\n",
            "schemas/Pets.yaml: $ref '#/components/schemas/Pet': no such file",
        ),
        (
            "schemas/Pets.yaml",
            "items:\n  $ref: Pet.yaml\n  nullable: true\n",
            "schemas/Pets.yaml: $ref 'Pet.yaml' has siblings, which OpenAPI 3.0 ignores",
        ),
    ],
)
def test_a_bad_reference_is_named_with_its_file(tmp_path: Path, file: str, text: str, message: str) -> None:
    with pytest.raises(spec.SpecError) as caught:
        spec.load(write(tmp_path, **{file: text}))
    assert str(caught.value) == message


def test_a_reference_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Secret.yaml").write_text("type: string\n", encoding="utf-8")
    directory = write(tmp_path / "openapi", **{"schemas/Pet.yaml": "items:\n  $ref: ../../Secret.yaml\n"})
    with pytest.raises(spec.SpecError, match="no such file"):
        spec.load(directory)


def test_bad_yaml_is_named_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(spec.SpecError, match=r"schemas/Pet\.yaml: no valid YAML"):
        spec.load(write(tmp_path, **{"schemas/Pet.yaml": "type: [object\n"}))


def test_a_directory_without_the_root_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(spec.SpecError, match=r"openapi\.yaml: no such file"):
        spec.load(tmp_path)
