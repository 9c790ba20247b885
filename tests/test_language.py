"""The code speaks plain English: no retired word names anything, and docstrings are sentences."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for part in ("app", "handlers") for path in (ROOT / part).rglob("*.py"))

RETIRED = frozenset(
    {"ask", "asked", "said", "told", "tell", "tells", "news", "behind", "rung", "ring", "bell", "stretch", "foremost"}
    | {"census", "bury", "halt", "patience", "patient", "hurried", "cut", "places", "kept", "keep", "keeps"}
)
RETIRED_ALONE = frozenset({"rest"})
"""Words that may be a part of a name, but not the whole of it."""

EXCEPTIONS = {
    "ASK": "a value of approval_policy in the API",
    "keep_blank_values": "an argument of urllib",
    "should_keep_alive": "a method of httptools",
    "tell": "a method of files",
}
"""Names with a retired word, and the reason for each."""

WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_name_holds_a_retired_word(source: Path) -> None:
    found = {name for name in names(ast.parse(source.read_text())) if name not in EXCEPTIONS and is_retired(name)}
    assert not found


def is_retired(name: str) -> bool:
    words = [word.lower() for word in WORDS.findall(name)]
    return not RETIRED.isdisjoint(words) or (len(words) == 1 and words[0] in RETIRED_ALONE)


def names(tree: ast.AST) -> Iterator[str]:
    """Every identifier that a file uses or gives."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.keyword(arg=str(name)):
                yield name
            case ast.alias(name=name, asname=other):
                yield from name.split(".")
                if other:
                    yield other
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name


@pytest.mark.parametrize(
    ("name", "expected"),
    [("asked_at", True), ("LastNews", True), ("_rest", True), ("rest_of", False), ("task", False), ("OFFERING", False)],
)
def test_a_word_is_found_in_any_notation(name: str, expected: bool) -> None:
    assert is_retired(name) is expected


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_sentence_of_a_docstring_begins_with_what(source: Path) -> None:
    tree = ast.parse(source.read_text())
    assert [text for text in docstrings(tree) if re.search(r"(?:^|[.!?:]\s+|\n\s*\n\s*)What(?:ever)?\b", text)] == []


def docstrings(tree: ast.AST) -> Iterator[str]:
    """Yield every string that stands as a statement: of a module, a class or a function, or below a constant."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield text


def test_an_exception_is_still_used() -> None:
    used = {name for source in SOURCES for name in names(ast.parse(source.read_text()))}
    assert set(EXCEPTIONS) <= used
