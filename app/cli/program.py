"""How the program was started, for help and for hints that work when they are pasted."""

import os
import shlex
import shutil
import sys
from pathlib import Path

import typer


def show_help(context: typer.Context) -> None:
    """Print the help of a group of commands if none of them is given. Used as the group's callback."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def program() -> str:
    """Return the beginning of a command line that starts this program again from the same directory."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return f"{_shortest(sys.executable)} -m {started.parent.name}"
    found = shutil.which(started.name)
    if found and Path(found).samefile(started):
        return started.name
    return _shortest(str(started.absolute()))


def _shortest(path: str) -> str:
    """Return the path relative to the working directory if it lies below it, quoted for a shell."""
    relative = os.path.relpath(path)
    return shlex.quote(path if relative.startswith(os.pardir) else relative)
