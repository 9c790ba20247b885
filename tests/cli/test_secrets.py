"""`secrets`: a new key, and everything encrypted with it, while a server runs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import Result

from app.agents.port import Turn
from app.engine.session_secrets import SessionSecrets, generate_key
from app.models.runs import RunStatus
from tests.support.command import invoke
from tests.support.scripted import echo, open_backend
from tests.support.store import store_url

OLD, NEW = generate_key(), generate_key()
VARIABLES = {"TOKEN": "s3cret"}


def reencrypt(directory: Path, *keys: str) -> Result:
    store = store_url(directory / "store.db")
    return invoke(directory, "secrets", "reencrypt", BACKEND_URL=store, SECRETS_KEY=",".join(keys))


def test_a_key_that_is_printed_is_accepted(tmp_path: Path) -> None:
    key = invoke(tmp_path, "secrets", "generate").stdout.strip()
    SessionSecrets([key])
    assert key != invoke(tmp_path, "secrets", "generate").stdout.strip()


async def test_sessions_go_on_with_the_new_key_alone(tmp_path: Path) -> None:
    seen = []

    def play(turn: Turn) -> AsyncIterator[bytes]:
        seen.append(turn.environment)
        return echo(turn)

    async with open_backend(tmp_path, play, secrets=SessionSecrets([OLD])) as harness:
        session_ids = [await harness.running(environment_variables=VARIABLES) for _ in range(3)]
        await harness.running()
    async with open_backend(tmp_path, play, secrets=SessionSecrets([NEW, OLD])) as harness:
        await harness.running(environment_variables=VARIABLES)
        done = await asyncio.to_thread(reencrypt, tmp_path, NEW, OLD)
        assert (done.exit_code, done.stdout) == (0, "")
        assert done.stderr.startswith("Encrypted the secrets of 3 sessions again in ")
        await harness.ended(session_ids[0], await harness.say(session_ids[0], "go on"))
        again = await asyncio.to_thread(reencrypt, tmp_path, NEW)
        assert again.stderr.startswith("Encrypted the secrets of 0 sessions")
    async with open_backend(tmp_path, play, secrets=SessionSecrets([NEW])) as harness:
        for session_id in session_ids:
            run = await harness.ended(session_id, await harness.say(session_id, "go on"))
            assert run.status is RunStatus.COMPLETED
    assert seen.count(VARIABLES) == 3 + 1 + 1 + 3


async def test_secrets_that_no_key_decrypts_are_left_as_they_are(tmp_path: Path) -> None:
    async with open_backend(tmp_path, secrets=SessionSecrets([OLD])) as harness:
        session_id = await harness.running(environment_variables=VARIABLES)
    done = await asyncio.to_thread(reencrypt, tmp_path, NEW)
    assert (done.exit_code, done.stderr) == (1, "There are secrets that none of the keys decrypts.\n")
    async with open_backend(tmp_path, secrets=SessionSecrets([OLD])) as harness:
        run = await harness.ended(session_id, await harness.say(session_id, "go on"))
        assert run.status is RunStatus.COMPLETED


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "There is no session store "),
        ({"BACKEND_URL": "http://127.0.0.1:1"}, "The platform at BACKEND_URL issues its own tokens"),
    ],
)
def test_without_a_store_there_is_nothing_to_do(tmp_path: Path, options: dict[str, str], line: str) -> None:
    done = invoke(tmp_path, "secrets", "reencrypt", **options)
    assert done.exit_code > 0
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
