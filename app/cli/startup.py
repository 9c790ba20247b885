"""The settings and the store of the server's commands. An error in them ends the command with one line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    from app.settings import Settings
    from app.store.keys import AccessKeys


def load_settings() -> "Settings":
    """Return the settings of the environment."""
    from app import settings

    try:
        return settings.load()
    except settings.SettingsError as error:
        fail(str(error), status=2)


@contextmanager
def open_keys(database: Path) -> Iterator["AccessKeys"]:
    """Open the keys of a store, which is created if it does not exist and migrated if it is older."""
    from app.store.keys import AccessKeys

    with exit_on_store_error(), AccessKeys.open(database) as access_keys:
        yield access_keys


@contextmanager
def exit_on_store_error() -> Iterator[None]:
    """End the command with one line if the store cannot be used."""
    from app.errors import ApiError

    try:
        yield
    except ApiError as error:
        fail(error.message, status=1)
    except OSError as error:
        fail(f"The session store cannot be used: {error.strerror}.", status=1)


def fail(line: str, *, status: int) -> NoReturn:
    """Print one line to standard error and exit."""
    sys.stderr.write(f"{line}\n")
    raise typer.Exit(status)
