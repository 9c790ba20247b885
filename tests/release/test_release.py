"""The gate, on a small document and on changes that break its clients, and the steps of a release."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.release import __main__ as release
from tests.release.compatibility import breaking_changes

pytestmark = pytest.mark.slow

Document = dict[str, Any]


@pytest.fixture(scope="module")
def document() -> Document:
    loaded: Document = yaml.safe_load(release._document(release.ROOT))
    return loaded


def changes(directory: Path, base: Document, revision: Document) -> list[str]:
    paths = directory / "base.yaml", directory / "revision.yaml"
    for path, content in zip(paths, (base, revision), strict=True):
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return breaking_changes(release.OASDIFF, *paths)


def schema(document: Document, name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][name]
    return found


def operation(document: Document, method: str, path: str) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"][path][method]
    return found


def remove_response_field(document: Document) -> None:
    del schema(document, "Session")["properties"]["activity"]


def remove_request_field(document: Document) -> None:
    del schema(document, "SessionCreate")["properties"]["labels"]


def require_request_field(document: Document) -> None:
    schema(document, "SessionCreate")["required"] = ["task", "model"]


def shorten_request_field(document: Document) -> None:
    schema(document, "NonBlankText")["maxLength"] = 10


def make_response_field_optional(document: Document) -> None:
    schema(document, "Session")["required"].remove("status")


def remove_parameter(document: Document) -> None:
    operation(document, "get", "/sessions")["parameters"].pop()


def add_value_to_response(document: Document) -> None:
    schema(document, "SessionStatus")["enum"].append("paused")


def rename_operation(document: Document) -> None:
    operation(document, "get", "/sessions")["operationId"] = "sessions"


def remove_operation(document: Document) -> None:
    del document["paths"]["/sessions"]["post"]


def change_success_status(document: Document) -> None:
    responses = operation(document, "post", "/sessions")["responses"]
    responses["200"] = responses.pop("201")


def raise_role(document: Document) -> None:
    operation(document, "get", "/sessions")["x-role"] = "edit"


def remove_error_code(document: Document) -> None:
    schema(document, "Error")["properties"]["code"]["x-extensible-enum"].remove("session_not_found")


def remove_error_code_of_response(document: Document) -> None:
    response = document["components"]["responses"]["SessionNotFound"]
    response["x-error-codes"].remove("session_not_found")


def rename_schema(document: Document) -> None:
    document["components"]["schemas"]["RunEntry"] = document["components"]["schemas"].pop("RunSummary")
    text = yaml.safe_dump(document).replace("#/components/schemas/RunSummary", "#/components/schemas/RunEntry")
    document.update(yaml.safe_load(text))


BREAKING = [
    remove_response_field,
    remove_request_field,
    remove_parameter,
    require_request_field,
    shorten_request_field,
    make_response_field_optional,
    add_value_to_response,
    rename_operation,
    remove_operation,
    change_success_status,
    raise_role,
    remove_error_code,
    remove_error_code_of_response,
    rename_schema,
]


@pytest.mark.parametrize("change", BREAKING)
def test_a_change_that_breaks_clients_is_found(
    change: Callable[[Document], None], document: Document, tmp_path: Path
) -> None:
    revision = copy.deepcopy(document)
    change(revision)
    assert changes(tmp_path, document, revision)


def add_response_field(document: Document) -> None:
    schema(document, "Session")["properties"]["mood"] = {"type": "string"}


def add_request_field(document: Document) -> None:
    schema(document, "SessionCreate")["properties"]["mood"] = {"type": "string"}


def add_error_code(document: Document) -> None:
    schema(document, "Error")["properties"]["code"]["x-extensible-enum"].append("tired")


def add_operation(document: Document) -> None:
    document["paths"]["/moods"] = {"get": {**operation(document, "get", "/sessions"), "operationId": "list_moods"}}


def lower_role(document: Document) -> None:
    operation(document, "post", "/sessions")["x-role"] = "view"


def deprecate_operation(document: Document) -> None:
    operation(document, "get", "/sessions")["deprecated"] = True


COMPATIBLE = [add_response_field, add_request_field, add_error_code, add_operation, lower_role, deprecate_operation]


@pytest.mark.parametrize("change", COMPATIBLE)
def test_an_addition_is_permitted(change: Callable[[Document], None], document: Document, tmp_path: Path) -> None:
    revision = copy.deepcopy(document)
    change(revision)
    assert changes(tmp_path, document, revision) == []


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("pyproject.toml", "CHANGELOG.md"):
        shutil.copy(release.ROOT / name, tmp_path)
    shutil.copytree(release.ROOT / "openapi", tmp_path / "openapi", ignore=shutil.ignore_patterns("released"))
    changelog = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A thing.\n\n## [0.1.0] - 2026-11-28\n"
    (tmp_path / "CHANGELOG.md").write_text(changelog, encoding="utf-8")
    return tmp_path


def test_a_release_sets_the_version_everywhere_and_keeps_the_document(project: Path) -> None:
    release.prepare(project, "1.4.0")
    assert 'version = "1.4.0"' in (project / "pyproject.toml").read_text(encoding="utf-8")
    assert "## [Unreleased]\n\n## [1.4.0] - 20" in (project / "CHANGELOG.md").read_text(encoding="utf-8")
    kept = yaml.safe_load((project / "openapi/released/v1.4.0.yaml").read_bytes())
    assert kept["info"]["version"] == "1.4.0"
    release.check(project)


def test_after_a_release_a_breaking_change_is_refused(project: Path) -> None:
    release.prepare(project, "1.4.0")
    paths = project / "openapi/paths/sessions.yaml"
    paths.write_text(paths.read_text(encoding="utf-8").replace("x-role: view", "x-role: admin", 1), encoding="utf-8")
    with pytest.raises(release.ReleaseError, match=r"breaks clients of v1\.4\.0:\nGET /sessions: role admin"):
        release.check(project)
    changelog = project / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8")
    changelog.write_text(text.replace("## [Unreleased]\n", "## [Unreleased]\n\n- More.\n"), encoding="utf-8")
    with pytest.raises(release.ReleaseError, match="breaks clients"):
        release.prepare(project, "1.5.0")


@pytest.mark.parametrize("version", ["1.4", "v1.4.0", "01.4.0", "1.4.0-rc1", ""])
def test_a_version_must_be_three_numbers(version: str, project: Path) -> None:
    with pytest.raises(release.ReleaseError, match="three numbers"):
        release.prepare(project, version)


def test_a_version_must_be_newer_and_have_changes(project: Path) -> None:
    release.prepare(project, "1.4.0")
    with pytest.raises(release.ReleaseError, match=r"not newer than v1\.4\.0"):
        release.prepare(project, "1.4.0")
    with pytest.raises(release.ReleaseError, match="no changes"):
        release.prepare(project, "1.5.0")
