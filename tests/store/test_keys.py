"""Access keys: created and revoked by a command, verified by a server on the same file."""

import asyncio
import datetime
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import Forbidden, Unauthorized
from app.models.caller import Caller, Credentials, Role
from app.store.keys import AccessKeys, KeyNotFound
from tests.support.scripted import open_backend
from tests.support.store import migrated_store_url, sqlite_only


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[AccessKeys]:
    with AccessKeys.open(migrated_store_url(tmp_path / "store.db")) as keys:
        yield keys


async def test_the_caller_is_in_the_keys_project_when_the_request_names_none(tmp_path: Path, keys: AccessKeys) -> None:
    key, secret = keys.create(project="demo", role=Role.EDIT, name="ci")
    async with open_backend(tmp_path) as harness:
        for project in (None, "demo"):
            caller = await harness.backend.authorize(Credentials(secret, project), Role.EDIT)
            assert caller == Caller(token=secret, project="demo", key_id=key.id)
    assert (key.project, key.role, key.name, key.expires_at, key.revoked_at) == ("demo", Role.EDIT, "ci", None, None)


async def test_the_token_is_refused_when_it_is_unknown_expired_or_revoked(tmp_path: Path, keys: AccessKeys) -> None:
    _, expired = keys.create(project="demo", role=Role.ADMIN, expires=datetime.timedelta(milliseconds=1))
    revoked_key, revoked = keys.create(project="demo", role=Role.ADMIN)
    keys.revoke(revoked_key.id)
    await asyncio.sleep(0.002)  # the shortest lifetime of a key
    async with open_backend(tmp_path) as harness:
        for token in ("ak_unknown", "", "\N{SNOWMAN}", revoked_key.id, expired, revoked):
            with pytest.raises(Unauthorized):
                await harness.backend.authorize(Credentials(token, "demo"), Role.VIEW)


async def test_the_token_is_forbidden_when_the_project_is_another(tmp_path: Path, keys: AccessKeys) -> None:
    _, secret = keys.create(project="demo", role=Role.ADMIN)
    async with open_backend(tmp_path) as harness:
        with pytest.raises(Forbidden, match="project"):
            await harness.backend.authorize(Credentials(secret, "other"), Role.VIEW)


@pytest.mark.parametrize("has", list(Role))
@pytest.mark.parametrize("needs", list(Role))
async def test_the_token_is_forbidden_when_its_role_is_too_small(
    tmp_path: Path, keys: AccessKeys, has: Role, needs: Role
) -> None:
    order = [Role.VIEW, Role.EDIT, Role.ADMIN]
    _, secret = keys.create(project="demo", role=has)
    async with open_backend(tmp_path) as harness:
        if order.index(has) >= order.index(needs):
            assert (await harness.backend.authorize(Credentials(secret, None), needs)).project == "demo"
        else:
            with pytest.raises(Forbidden, match="role"):
                await harness.backend.authorize(Credentials(secret, None), needs)


async def test_a_running_server_sees_at_once_that_a_key_is_created_or_revoked(tmp_path: Path) -> None:
    async with open_backend(tmp_path) as harness:
        with AccessKeys.open(migrated_store_url(tmp_path / "store.db")) as keys:
            key, secret = keys.create(project="demo", role=Role.VIEW)
            await harness.backend.authorize(Credentials(secret, None), Role.VIEW)
            keys.revoke(key.id)
            with pytest.raises(Unauthorized):
                await harness.backend.authorize(Credentials(secret, None), Role.VIEW)


async def test_earlier_keys_of_a_name_expire_after_the_overlap_when_it_is_rotated(
    tmp_path: Path, keys: AccessKeys
) -> None:
    elsewhere, _ = keys.create(project="other", role=Role.VIEW, name="make run")
    another, _ = keys.create(project="demo", role=Role.VIEW, name="another")
    earliest, first = keys.rotate(project="demo", role=Role.ADMIN, name="make run", overlap=datetime.timedelta(hours=1))
    earlier, second = keys.rotate(project="demo", role=Role.ADMIN, name="make run", overlap=datetime.timedelta(0))
    async with open_backend(tmp_path) as harness:
        with pytest.raises(Unauthorized):
            await harness.backend.authorize(Credentials(first, None), Role.VIEW)
        await harness.backend.authorize(Credentials(second, None), Role.VIEW)

    latest, _ = keys.rotate(project="demo", role=Role.ADMIN, name="make run", overlap=datetime.timedelta(hours=1))
    ends = {key.id: key.expires_at for key in keys.list()}
    expired = [ends.pop(earliest.id), ends.pop(earlier.id)]
    assert None not in expired
    assert str(expired[0]) < str(expired[1])
    assert ends == {elsewhere.id: None, another.id: None, latest.id: None}


@sqlite_only
def test_a_secret_has_256_bits_and_only_its_hash_is_stored(tmp_path: Path, keys: AccessKeys) -> None:
    secrets = {keys.create(project="demo", role=Role.VIEW)[1] for _ in range(20)}
    assert len(secrets) == 20
    with sqlite3.connect(tmp_path / "store.db") as connection:
        dump = "\n".join(connection.iterdump())
    connection.close()
    for secret in secrets:
        assert secret.startswith("ak_")
        assert len(secret) == 3 + 43
        assert secret not in dump
        assert secret[3:] not in dump


def test_every_key_is_listed_with_its_times_when_some_are_revoked(keys: AccessKeys) -> None:
    first, _ = keys.create(project="demo", role=Role.VIEW, name="a", expires=datetime.timedelta(days=30))
    second, _ = keys.create(project="demo", role=Role.ADMIN, name="b")
    revoked = keys.revoke(first.id)
    assert keys.revoke(first.id) == revoked
    assert {key.id: key for key in keys.list()} == {first.id: revoked, second.id: second}
    assert revoked.revoked_at is not None
    assert first.expires_at is not None
    lifetime = datetime.datetime.fromisoformat(first.expires_at) - datetime.datetime.fromisoformat(first.created_at)
    assert lifetime == datetime.timedelta(days=30)


def test_revoking_fails_when_there_is_no_such_key(keys: AccessKeys) -> None:
    with pytest.raises(KeyNotFound):
        keys.revoke("key-000000000000")
