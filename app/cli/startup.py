"""The settings and the store of the server's commands. An error in them ends the command with one line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    from app.settings import Settings
    from app.store.keys import AccessKeys


def load_settings() -> "Settings":
    """Return the settings of the environment."""
    from app import settings
    from app.setting_types import SettingsError

    try:
        return settings.load()
    except SettingsError as error:
        fail(str(error), status=2)


def session_store(settings: "Settings") -> str:
    """Return the URL of the session store, which need not exist."""
    if settings.store is None:
        fail("The platform at BACKEND_URL issues its own tokens; keys belong to the embedded backend.", status=2)
    return settings.store


def existing_store(settings: "Settings") -> str:
    """Return the URL of the session store, which exists if it is a file."""
    from app.store.open import sqlite_file

    store = session_store(settings)
    file = sqlite_file(store)
    if file and not file.exists():
        fail(
            f"There is no session store {file}. Start the server first, or set DATA_DIR or BACKEND_URL to what the"
            " server uses; `keys create --new-store` creates one.",
            status=1,
        )
    return store


@contextmanager
def open_keys(store: str) -> Iterator["AccessKeys"]:
    """Open the keys of a store, which is created if it does not exist and migrated if it is older."""
    from app.store.keys import AccessKeys

    with exit_on_store_error(), AccessKeys.open(store) as access_keys:
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
