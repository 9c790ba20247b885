"""Bundle the files under openapi/ into the one document that the server is built from and that is published."""

import functools
from pathlib import Path
from typing import Any

import msgspec
import yaml

try:  # several times as fast
    from yaml import CSafeDumper as SafeDumper
    from yaml import CSafeLoader as SafeLoader
except ImportError:  # PyYAML built without libyaml
    from yaml import SafeDumper, SafeLoader  # type: ignore[assignment]

OPENAPI = Path(__file__).resolve().parent.parent / "openapi"
"""Where the files are; the wheel has them beside `app/` too."""

_ROOT = "openapi.yaml"
_SERVER_ONLY = {"x-aliases", "x-pattern-words", "x-key-words"}
"""Extensions that only this server reads: they are no part of the published document."""
_KINDS = ("schemas", "parameters", "headers", "responses", "examples", "links")


class SpecError(Exception):
    """The files under openapi/ do not form one document; the message names the file and the reference."""


def load(directory: Path = OPENAPI) -> dict[str, Any]:
    """Return the self-contained document: path items are inlined, every other file reference becomes a component's.

    A component is named after its file (`schemas/Session.yaml`) or its key (`headers.yaml#/Location`). Keys keep the
    order of the files, and the components of a kind are sorted by name. The result is the caller's own. Raises
    `SpecError`.
    """
    if directory == OPENAPI:
        document: dict[str, Any] = msgspec.msgpack.decode(_packed())
        return document
    return _Bundle(directory.resolve()).document()


@functools.cache
def _packed() -> bytes:
    """The program's own document. It has a hundred files, which are read once per process."""
    return msgspec.msgpack.encode(_Bundle(OPENAPI).document())


def published(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document as clients get it.

    The extensions that only this server reads are left out, and each response that is an error lists its codes.
    """
    copy: dict[str, Any] = _strip(document)
    components = copy["components"]
    for response in components.get("responses", {}).values():
        examples = response.get("content", {}).get("application/json", {}).get("examples", {}).values()
        values = [_value(example, components) for example in examples]
        if codes := [value["code"] for value in values if "code" in value]:
            response["x-error-codes"] = codes
    return copy


def _value(example: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in example:
        example = components["examples"][example["$ref"].rpartition("/")[2]]
    value: dict[str, Any] = example["value"]
    return value


def _strip(node: Any) -> Any:
    match node:
        case dict():
            return {key: _strip(value) for key, value in node.items() if key not in _SERVER_ONLY}
        case list():
            return [_strip(item) for item in node]
    return node


def manual() -> dict[str, str]:
    """Return the chapters of the manual by their names, in their order: texts in Markdown that begin with a title."""
    files = sorted((OPENAPI / "manual").glob("*.md"))  # 01-quick-start.md
    return {file.stem.partition("-")[2]: file.read_text(encoding="utf-8") for file in files}


def version() -> str:
    """Return the document's version, which is also the program's."""
    return str(_parse(OPENAPI / _ROOT)["info"]["version"])


def as_json(document: dict[str, Any]) -> bytes:
    """Return the document as compact JSON."""
    return msgspec.json.encode(document)


def as_yaml(document: dict[str, Any]) -> str:
    """Return the document as YAML for people to read: texts of several lines stay blocks."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _parse(file: Path) -> Any:
    return yaml.load(file.read_text(encoding="utf-8"), SafeLoader)


class _Bundle:
    """The document while it is put together, with the files and components that have been read so far."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[Path, Any] = {}
        self._components: dict[str, dict[str, Any]] = {kind: {} for kind in _KINDS}

    def document(self) -> dict[str, Any]:
        root = self._directory / _ROOT
        if not root.is_file():
            raise SpecError(f"{_ROOT}: no such file")
        document: dict[str, Any] = self._bundle(self._read(root), root)
        components = {kind: dict(sorted(found.items())) for kind, found in self._components.items() if found}
        document["components"] = components | document.get("components", {})
        return document

    def _read(self, file: Path) -> Any:
        if file not in self._files:
            try:
                self._files[file] = _parse(file)
            except yaml.YAMLError as error:
                raise SpecError(f"{self._name(file)}: no valid YAML: {error}") from error
        return self._files[file]

    def _bundle(self, node: Any, source: Path) -> Any:
        """Return a copy of a node of the file `source` in which every reference is replaced."""
        match node:
            case {"$ref": str(ref), **siblings}:
                if siblings:
                    raise SpecError(f"{self._name(source)}: $ref {ref!r} has siblings, which OpenAPI 3.0 ignores")
                return self._follow(ref, source)
            case dict():
                return {key: self._bundle(value, source) for key, value in node.items()}
            case list():
                return [self._bundle(item, source) for item in node]
        return node

    def _follow(self, ref: str, source: Path) -> Any:
        where = f"{self._name(source)}: $ref {ref!r}"
        path, _, key = ref.partition("#/")
        file = (source.parent / path).resolve()
        if not file.is_file() or not file.is_relative_to(self._directory):
            raise SpecError(f"{where}: no such file")
        content = self._read(file)
        if key:
            if not isinstance(content, dict) or key not in content:
                raise SpecError(f"{where}: the file has no such key")
            content = content[key]
        match file.relative_to(self._directory).with_suffix("").parts, key:
            case ("paths", _), "":
                return self._bundle(content, file)
            case (kind, name), "" if kind in _KINDS:
                return self._component(kind, name, content, file)
            case (kind,), name if kind in _KINDS and name:
                return self._component(kind, name, content, file)
        raise SpecError(f"{where}: neither a path item nor a component")

    def _component(self, kind: str, name: str, content: Any, file: Path) -> dict[str, str]:
        found = self._components[kind]
        if name not in found:
            found[name] = None  # before its own references are followed, because a schema may refer to itself
            found[name] = self._bundle(content, file)
        return {"$ref": f"#/components/{kind}/{name}"}

    def _name(self, file: Path) -> str:
        return file.relative_to(self._directory).as_posix()


class _Dumper(SafeDumper):
    """YAML without anchors, and with texts of several lines as blocks."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        return True


def _represent_text(dumper: SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)
