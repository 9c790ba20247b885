"""No regular expression of the server takes more than linear time, whatever its text.

Others choose the texts, and while an expression runs the event loop serves nobody. For each expression, texts of up to
64 KiB are made that repeat what it looks for: every character and every pair of characters that it mentions, and its
literal words with each of these. Work is counted as CPU time of the thread. For 64 KiB, an expression that reads its
text once takes milliseconds, and one that reads on from each position takes seconds. The limit lies far from both.

Patterns of the document and of pydantic run in Rust's engine, which is linear by design, and are not tested here.
"""

import ast
import importlib
import itertools
import pkgutil
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from re import _constants as opcodes  # the standard library's parser has no public name
from re import _parser as parser
from typing import Any

import pytest

import app
from app.engine.hidden_values import HiddenValues
from app.git.remote import reason
from app.observability.logs import redact
from app.server.cors import Cors

KIB = 1024
SIZES = (KIB, 16 * KIB, 64 * KIB)
MOST_SECONDS = 0.5
MOST_CHARACTERS = 14
MOST_TEXTS = 6
"""How many texts grow to 64 KiB: those that take the most work at 1 KiB, where a quadratic one stands out."""


def modules() -> Iterator[Any]:
    for found in pkgutil.walk_packages(app.__path__, "app."):
        if not found.name.startswith(("app.__main__", "app.store.migrations")):
            yield importlib.import_module(found.name)


def written_in_calls(source: str) -> Iterator[str]:
    """Yield the patterns that are given to a function of `re` as literals, also where nothing keeps the result."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="re"), attr=name), args=[ast.Constant(value=pattern), *_]
            ):
                if name != "compile":  # a module or a class holds the result
                    yield pattern  # type: ignore[misc]  # a text or bytes


def patterns() -> dict[str, re.Pattern[Any]]:
    """Return every regular expression of the server: what a module or class holds, and what a call is given."""
    found: dict[str, re.Pattern[Any]] = {}
    for module in modules():
        source = Path(module.__file__).read_text()
        for pattern in written_in_calls(source) if "import re\n" in source else ():
            found.setdefault(f"{module.__name__}: {pattern!r}", re.compile(pattern))
        own = (one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__)
        holders = [module, *own]
        for name, value in itertools.chain.from_iterable(vars(holder).items() for holder in holders):
            if isinstance(value, re.Pattern):
                found[f"{module.__name__}.{name}"] = value
    return found


def mentioned(parsed: Iterable[Any]) -> Iterator[str]:
    """Yield the characters that an expression mentions; of a range its ends, of a category one."""
    for code, argument in parsed:
        if code in (opcodes.LITERAL, opcodes.NOT_LITERAL):
            yield chr(argument)
        elif code is opcodes.RANGE:
            yield from map(chr, argument)
        elif code is opcodes.CATEGORY:
            yield from {opcodes.CATEGORY_SPACE: " ", opcodes.CATEGORY_DIGIT: "7"}.get(argument, "w")
        elif code is opcodes.ANY:
            yield "."
        elif code is not opcodes.AT:
            yield from mentioned(_parts(argument))


def _parts(argument: Any) -> Iterator[Any]:
    """Yield the (code, argument) pairs below any argument of the parser."""
    if isinstance(argument, parser.SubPattern):
        yield from argument
    elif isinstance(argument, tuple) and len(argument) == 2 and isinstance(argument[0], opcodes._NamedIntConstant):
        yield argument
    elif isinstance(argument, (tuple, list)):
        for one in argument:
            yield from _parts(one)


def words(pattern: str) -> list[str]:
    """Return the literal words in an expression, such as `eyJ`, which a text must contain to cause work."""
    return sorted(set(re.findall(r"[A-Za-z_]{3,}[:=]?", pattern)))


def units(pattern: re.Pattern[Any]) -> Iterator[str]:
    """Yield what is repeated to make texts."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    tree = parser.parse(source, pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags)
    characters = [one for one in dict.fromkeys(mentioned(tree)) if not "\ud800" <= one <= "\udfff"][:MOST_CHARACTERS]
    characters = list(dict.fromkeys([*characters, "a", "-"]))
    yield from map("".join, itertools.product(characters, repeat=2))
    for word in words(source):
        yield from (word + one for one in characters)


def seconds(call: Callable[[Any], object], text: Any) -> float:
    started = time.thread_time()
    call(text)
    return time.thread_time() - started


def assert_linear(call: Callable[[Any], object], make: Callable[[int], Any], what: str) -> None:
    """Fail at the first size that takes more work than one that is read once can take."""
    for size in SIZES:
        assert seconds(call, make(size)) < MOST_SECONDS, f"{what}: too much work for {size} characters"


def repeated(pattern: re.Pattern[Any], unit: str, end: str) -> Callable[[int], Any]:
    def make(size: int) -> Any:
        text = (unit * (size // len(unit)))[: size - len(end)] + end
        return text if isinstance(pattern.pattern, str) else text.encode("utf-8", "replace")

    return make


def used_from_the_beginning(name: str) -> bool:
    """Return whether a module only matches its expression, of this full name, from the beginning of a text."""
    module, _, variable = name.rpartition(".")
    source = Path(importlib.import_module(module).__file__ or "").read_text() if "'" not in name else ""
    uses = re.findall(rf"\b{re.escape(variable)}\.(\w+)\(", source)
    return set(uses) <= {"match", "fullmatch"} and source.count(variable) == len(uses) + 1


PATTERNS = patterns()
ANCHORED = {name for name in PATTERNS if used_from_the_beginning(name)}


@pytest.mark.parametrize("name", PATTERNS)
def test_an_expression_takes_linear_time(name: str) -> None:
    pattern = PATTERNS[name]
    call = partial(_from_the_beginning if name in ANCHORED else _search_everywhere, pattern)
    texts = [repeated(pattern, unit, end) for unit in dict.fromkeys(units(pattern)) for end in ("", "\x00")]
    texts.sort(key=lambda make: seconds(call, make(KIB)), reverse=True)
    for make in texts[:MOST_TEXTS]:
        assert_linear(call, make, f"{name} on {make(20)!r}")


def test_an_expression_that_reads_on_from_each_position_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "MOST_SECONDS", 0.05)  # sooner
    pattern = re.compile("a*b")
    with pytest.raises(AssertionError, match="too much work"):
        assert_linear(partial(_search_everywhere, pattern), repeated(pattern, "a", ""), "a*b")


def _from_the_beginning(pattern: re.Pattern[Any], text: Any) -> None:
    pattern.match(text)
    pattern.fullmatch(text)


def _search_everywhere(pattern: re.Pattern[Any], text: Any) -> None:
    """Find all matches."""
    for _ in pattern.finditer(text):
        pass


def test_every_module_of_the_server_was_looked_at() -> None:
    assert {"app.observability.logs._SECRET", "app.git.remote._QUOTED", "app.backends.ambient.errors._INTERNAL"} <= set(
        PATTERNS
    )
    assert any(name.startswith("app.agents.demo: ") for name in PATTERNS)


SECRETS = HiddenValues(["a" * 40_000 + "b", *("a" * length for length in range(4, 400)), "ab\n" * 9_000])


ORIGINS = Cors(["https://*.*.*.example.com"])
CALLS = {
    "redact": redact,
    "origin": ORIGINS.allows,
    "hidden values": SECRETS.replace,
    "reason": lambda text: reason(b"fatal: " + text.encode(), "https://h/"),
}
UNITS = ("a", "eyJ-", "aaaaaaab", "'", "'a", "/@", "a.", ":", "a:", "https://a.", "://", "token=", "\\", " ")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("unit", UNITS)
def test_checking_and_cleaning_a_text_takes_linear_time(call: str, unit: str) -> None:
    assert_linear(CALLS[call], lambda size: "\n".join([unit * (size // len(unit) // 2)] * 2), f"{call} on {unit!r}")
    assert_linear(CALLS[call], lambda size: unit * (size // len(unit)), f"{call} on {unit!r}")


def test_many_values_to_hide_take_no_long_preparation() -> None:
    def prepare(size: int) -> object:
        return HiddenValues(["\n".join(f"{number:05}" for number in range(size // 6))])

    assert_linear(prepare, lambda size: size, "values to hide")
