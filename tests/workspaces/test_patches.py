"""Patches of random changes: the real git makes the present state of the beginning, whatever has happened."""

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.workspaces.changes import patch
from app.workspaces.states import WorkspaceStates
from tests.support.repositories import git


class Entry(NamedTuple):
    """A file with its content and whether it is executable, or a link to `content`."""

    content: bytes
    executable: bool = False
    link: bool = False


LINES = st.lists(st.sampled_from([b"a", b"b", b"\tc ", b"", b"-- ", b"\\ No newline", b"diff --git a/x b/x", b"\xff"]))
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
TEXTS = st.builds(lambda lines, end, last: end.join(lines) + last, LINES, ENDS, st.sampled_from([b"", b"\n", b"\r\n"]))
CONTENTS = TEXTS | st.binary(max_size=40) | st.sampled_from([b"", b"line\n" * 12, b"line\n" * 11 + b"end", b"\0" * 100])
FILES = st.tuples(CONTENTS, st.booleans()).map(lambda drawn: Entry(*drawn))
# None in a circle, beyond which git itself looks.
LINKS = st.builds(lambda to: Entry(to, link=True), st.sampled_from([b"x", b"../..", b"/etc/passwd", b"\xfe"]))
# Not a space alone: git itself does not apply its patches of empty files in a directory of that name.
NAMES = [b"a", b"b c", b"d", b"\xc3\xbc", b'q"\n\t', b"\xff", b"-n", b".x", b"a\\b", b"*", b"HEAD"]
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(b"/".join)


@st.composite
def trees(draw: st.DrawFn, before: dict[bytes, Entry] | None = None) -> dict[bytes, Entry]:
    """Draw files by path, where some are those of a tree before: as they were, elsewhere, or with another mode."""
    drawn = draw(st.dictionaries(PATHS, FILES | LINKS, max_size=6))
    for path, entry in (before or {}).items():
        match draw(st.sampled_from(["same", "same", "gone", "moved", "changed", "mode"])):
            case "same":
                drawn[path] = entry
            case "moved":
                drawn[draw(PATHS)] = entry
            case "changed" if not entry.link:
                drawn[path] = entry._replace(content=entry.content + draw(TEXTS))
            case "mode" if not entry.link:
                drawn[path] = entry._replace(executable=not entry.executable)
    return {path: drawn[path] for path in sorted(drawn) if not any(path.startswith(other + b"/") for other in drawn)}


@st.composite
def changed(draw: st.DrawFn) -> tuple[dict[bytes, Entry], dict[bytes, Entry]]:
    before = draw(trees())
    return before, draw(trees(before))


def write(root: Path, tree: dict[bytes, Entry]) -> None:
    for old in root.iterdir():
        shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    for path, entry in tree.items():
        place = root / os.fsdecode(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        if entry.link:
            place.symlink_to(os.fsdecode(entry.content))
        else:
            place.write_bytes(entry.content)
            place.chmod(0o755 if entry.executable else 0o644)


def read(root: Path) -> dict[bytes, Entry]:
    found = {}
    for path in root.rglob("*"):
        name = os.fsencode(path.relative_to(root))
        if path.is_symlink():
            found[name] = Entry(os.fsencode(path.readlink()), link=True)
        elif path.is_file():
            found[name] = Entry(path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return found


LINK, FILE = Entry(b"x", link=True), Entry(b"1\n")


@settings(derandomize=True, max_examples=settings().max_examples // 2)  # each runs git several times
@given(changed())
@example(({b"d": LINK}, {b"d/a": FILE, b"e": LINK}))
@example(({b"d": LINK}, {b"d/a": LINK}))
@example(({b"d/a": LINK, b"e": FILE}, {b"d": LINK, b"f": FILE}))
async def test_a_patch_makes_the_present_of_the_beginning(trees: tuple[dict[bytes, Entry], dict[bytes, Entry]]) -> None:
    before, after = trees
    with TemporaryDirectory() as name:
        root, copy, server = (Path(name) / each for each in ("root", "copy", "server"))
        root.mkdir()
        write(root, before)
        shutil.copytree(root, copy, symlinks=True)
        states = WorkspaceStates(root, server, max_file=100_000)
        await states.begin()
        write(root, after)
        content = b"".join([chunk async for chunk in (await patch(states, b"")).chunks])
        if content:
            (Path(name) / "patch").write_bytes(content)
            git(copy, "apply", "--whitespace=nowarn", str(Path(name) / "patch"))
        assert read(copy) == after
