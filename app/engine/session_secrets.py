"""The secrets of sessions, encrypted at rest: environment variables, and credentials in the URLs of repositories.

The store has the request of a session without them, and beside it the ciphertext: a token of Fernet, which is
AES-128-CBC with an HMAC. The keys are not in the store, so a copy of it, such as a backup, has no secret.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from app.models.sessions import SessionCreate
from app.store.sessions import SessionRow
from app.urls import without_credentials


class SecretsError(Exception):
    """The secrets of a session, or their key, cannot be read; the message is safe to show to clients."""


class _Secrets(msgspec.Struct, omit_defaults=True):
    environment_variables: dict[str, str] | None = None
    urls: list[str] | None = None
    workflow_url: str | None = None


class SessionSecrets:
    """Encrypts with the first of some keys, and decrypts with any of them. A key is 32 bytes in URL-safe base64."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._first, self._fernet = Fernet(keys[0]), MultiFernet([Fernet(key) for key in keys])

    def separate(self, new: SessionCreate) -> tuple[SessionCreate, bytes | None]:
        """Return a request without its secrets, and these encrypted; None if it has none."""
        urls = [repo.url for repo in new.repos or []]
        workflow = new.active_workflow
        found = _Secrets(
            new.environment_variables or None,
            urls if any(without_credentials(url) != url for url in urls) else None,
            workflow.git_url if workflow and without_credentials(workflow.git_url) != workflow.git_url else None,
        )
        if found == _Secrets():
            return new, None
        repos = [msgspec.structs.replace(repo, url=without_credentials(repo.url)) for repo in new.repos or []]
        if workflow:
            workflow = msgspec.structs.replace(workflow, git_url=without_credentials(workflow.git_url))
        remaining = msgspec.structs.replace(
            new, environment_variables=None, repos=repos if new.repos else new.repos, active_workflow=workflow
        )
        return remaining, self._fernet.encrypt(msgspec.json.encode(found))

    def renew(self, secrets: bytes) -> bytes | None:
        """Return secrets encrypted again with the first key, None if they are already; `SecretsError`."""
        try:
            self._first.decrypt(secrets)
        except InvalidToken:
            try:
                return self._fernet.rotate(secrets)
            except InvalidToken as error:
                raise SecretsError("There are secrets that none of the keys decrypts.") from error
        return None

    def whole(self, session: SessionRow) -> SessionCreate:
        """Return the request of a session with its secrets; `SecretsError`."""
        request = session.request
        if session.secrets is None:
            return request
        try:
            secrets = msgspec.json.decode(self._fernet.decrypt(session.secrets), type=_Secrets)
        except InvalidToken as error:
            raise SecretsError("The secrets of the session cannot be decrypted: the key has changed.") from error
        repos, workflow = request.repos, request.active_workflow
        if repos and secrets.urls:
            pairs = zip(repos, secrets.urls, strict=True)
            repos = [msgspec.structs.replace(repo, url=url) for repo, url in pairs]
        if workflow and secrets.workflow_url:
            workflow = msgspec.structs.replace(workflow, git_url=secrets.workflow_url)
        return msgspec.structs.replace(
            request, environment_variables=secrets.environment_variables, repos=repos, active_workflow=workflow
        )


def generate_key() -> str:
    """Return a new key."""
    return Fernet.generate_key().decode()


def read_keys(file: Path, *, make: bool = True) -> list[str]:
    """Return the keys in a file, one in a line; `SecretsError`.

    If there is none, it is made for its owner alone, with a new key, unless told not to `make` it.
    """
    try:
        if make and not file.exists():
            _make_file(file)
        keys = file.read_text(encoding="ascii").split()
        for key in keys:
            Fernet(key)
    except OSError as error:
        raise SecretsError(f"The key of secrets {file} cannot be read or made: {error.strerror}.") from error
    except ValueError as error:
        raise SecretsError(f"The file {file} holds no key of secrets.") from error
    if not keys:
        raise SecretsError(f"The file {file} holds no key of secrets.")
    return keys


def _make_file(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):  # another server was faster
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as made:
            made.write(f"{generate_key()}\n")
