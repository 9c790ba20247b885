"""The files that a program needs beside the system's: npm, nvm, virtual environments and the like are below a home."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.sandbox.bubblewrap import SYSTEM

_MAX_SHEBANG = 256
_SIGNS_OF_AN_INSTALLATION = ("pyvenv.cfg", "lib", "libexec", "include", "conda-meta")
_OPTIONS_OF_ENV = ("-S", "--split-string")


def find_program(name: str, search_path: str | None = None) -> str:
    """Return the program that the server itself would run, which a session's workspace or variables cannot replace.

    A name that is not found is returned as it is, and fails when it is started; a relative path becomes absolute.
    """
    found = shutil.which(name, path=search_path) or name
    return str(Path(found).absolute()) if "/" in found else found


def needed_paths(command: Sequence[str], home: Path) -> list[Path]:
    """Return the paths that a command needs to run: where its program and interpreter are installed, and its files.

    Never `home` or a directory above it, and of a hidden directory in it not more than the programs and modules.
    """
    found: dict[Path, None] = {}
    unvisited = [Path(find_program(command[0]))]
    unvisited += [path for word in command[1:] if word.startswith("/") and (path := Path(word)).exists()]
    visited: set[Path] = set()
    while unvisited:
        path = unvisited.pop(0)
        if path in visited or not path.is_absolute() or not path.exists():
            continue
        visited.add(path)
        if not _is_system(path):
            found[_installation(path, home)] = None
        unvisited += [*_next_link(path), *_interpreter(path), *_base_of_environment(path)]
    return list(found)


def _installation(path: Path, home: Path) -> Path:
    """Return the directory that a file belongs to, as far as that may be shown."""
    if path.is_dir():
        return path
    if "node_modules" in path.parts:
        return Path(*path.parts[: path.parts.index("node_modules") + 1])
    parent, prefix = path.parent, path.parent.parent
    if parent.name == "bin" and not _holds_more(prefix, home):
        return prefix if any((prefix / sign).exists() for sign in _SIGNS_OF_AN_INSTALLATION) else parent
    return path if _holds_more(parent, home) and parent.name != "bin" else parent


def _holds_more(directory: Path, home: Path) -> bool:
    """Return whether a directory may hold more than an installation: a home, or what a home has by convention."""
    if home.is_relative_to(directory):
        return True
    hidden_in_home = directory.parent == home and directory.name.startswith(".")
    return hidden_in_home and not (directory / "pyvenv.cfg").exists()


def _next_link(path: Path) -> Iterator[Path]:
    """Yield what a symbolic link points to, link by link, and the file that it is in the end."""
    if path.is_symlink():
        yield Path(os.path.normpath(path.parent / path.readlink()))
    if path.exists() and (real := path.resolve()) != path:
        yield real


def _interpreter(path: Path) -> Iterator[Path]:
    """Yield the program that a script names in its first line."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        first = file.read(_MAX_SHEBANG).partition(b"\n")[0].decode("utf-8", "replace")
    if not first.startswith("#!") or not (words := first[2:].split()):
        return
    if Path(words[0]).name == "env":
        names = [word for word in words[1:] if word not in _OPTIONS_OF_ENV and "=" not in word]
        words = names[:1]
    if words:
        yield Path(find_program(words[0]))


def _base_of_environment(path: Path) -> Iterator[Path]:
    """Yield the Python that the virtual environment of a program was made from."""
    configuration = path.parent.parent / "pyvenv.cfg"
    if path.parent.name != "bin" or not configuration.is_file():
        return
    for line in configuration.read_text("utf-8", "replace").splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "home":
            yield Path(value.strip()) / "python3"


def _is_system(path: Path) -> bool:
    return any(path.is_relative_to(directory) for directory in (*SYSTEM, Path("/bin"), Path("/sbin"), Path("/lib")))
