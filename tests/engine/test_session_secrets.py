"""Secrets of sessions at rest: encrypted with a key that is not in the data."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from app.agents.port import Turn
from app.engine.session_secrets import SecretsError, SessionSecrets, read_keys
from app.git.access import GitAccess
from app.models.runs import RunStatus
from app.models.sessions import Repo, SessionStatus, Workflow
from app.store import sessions
from tests.support.scripted import CALLER, FINISHED, STARTED, open_backend
from tests.support.store import sqlite_only

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
VARIABLES = {"API_TOKEN": "hunter2-of-ada"}
URL = "https://ada:hunter3-of-ada@127.0.0.1:1/x.git"
WORKFLOW = "https://hunter4-of-ada@127.0.0.1:1/wf.git"


class Watching:
    """An agent that notes the environment variables that it is given."""

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []

    async def __call__(self, turn: Turn) -> AsyncIterator[bytes]:
        self.seen.append(dict(turn.environment))
        yield STARTED
        yield FINISHED


@sqlite_only
async def test_no_file_of_the_data_has_a_secret(tmp_path: Path) -> None:
    watching = Watching()
    async with open_backend(tmp_path, watching) as harness:
        await harness.running(environment_variables=VARIABLES)
        failed = await harness.create(
            environment_variables=VARIABLES,
            repos=[Repo(url=URL), Repo(url="https://127.0.0.1:1/y.git")],
            active_workflow=Workflow(git_url=WORKFLOW),
        )
        await harness.status(failed, SessionStatus.FAILED)
    assert watching.seen == [VARIABLES]
    content = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"API_TOKEN" not in content
    assert b"-of-ada" not in content


async def test_the_urls_are_whole_for_git(tmp_path: Path) -> None:
    async with open_backend(tmp_path) as harness:
        session_id = await harness.create(repos=[Repo(url=URL)], active_workflow=Workflow(git_url=WORKFLOW))
        row = await harness.backend._database.read_one(sessions.find, CALLER.project, session_id)
        whole = harness.backend._config.secrets.whole(row)
        assert whole.repos == [Repo(url=URL)]
        assert whole.active_workflow == Workflow(git_url=WORKFLOW)
        assert row.request.repos == [Repo(url="https://127.0.0.1:1/x.git")]


async def test_a_new_key_goes_on_with_the_secrets_of_the_old_one(tmp_path: Path) -> None:
    watching = Watching()
    async with open_backend(tmp_path, watching, secrets=SessionSecrets([OLD])) as harness:
        session_id = await harness.running(environment_variables=VARIABLES)
    async with open_backend(tmp_path, watching, secrets=SessionSecrets([NEW, OLD])) as harness:
        await harness.ended(session_id, await harness.say(session_id, "again"))
        other = await harness.running(environment_variables=VARIABLES)
    async with open_backend(tmp_path, watching, secrets=SessionSecrets([NEW])) as harness:
        await harness.ended(other, await harness.say(other, "again"))
    assert watching.seen == [VARIABLES] * 4


async def test_without_the_key_a_session_says_why_it_cannot_go_on(tmp_path: Path) -> None:
    async with open_backend(tmp_path, Watching(), secrets=SessionSecrets([OLD])) as harness:
        session_id = await harness.running(environment_variables=VARIABLES)
        plain = await harness.running()
    async with open_backend(tmp_path, Watching(), secrets=SessionSecrets([NEW])) as harness:
        run = await harness.ended(session_id, await harness.say(session_id, "again"))
        assert (run.status, run.error) == (
            RunStatus.ERROR,
            "The secrets of the session cannot be decrypted: the key has changed.",
        )
        run = await harness.ended(plain, await harness.say(plain, "again"))
        assert run.status is RunStatus.COMPLETED


async def test_a_workspace_that_needs_them_says_so_too(tmp_path: Path) -> None:
    async with open_backend(tmp_path, secrets=SessionSecrets([OLD]), git=GitAccess()) as harness:
        session_id = await harness.create(repos=[Repo(url=URL)])
        await harness.status(session_id, SessionStatus.FAILED)
    async with open_backend(tmp_path, secrets=SessionSecrets([NEW])) as harness:
        await harness.backend.sessions.start_session(CALLER, session_id)
        await harness.status(session_id, SessionStatus.FAILED)
        session = await harness.backend.sessions.get_session(CALLER, session_id)
        assert session.error == "The secrets of the session cannot be decrypted: the key has changed."


class TestKeyFile:
    def test_it_is_made_once_and_for_its_owner_alone(self, tmp_path: Path) -> None:
        file = tmp_path / "keys" / "secrets.key"
        [key] = read_keys(file)
        assert file.stat().st_mode & 0o777 == 0o600
        assert read_keys(file) == [key]
        SessionSecrets([key])

    def test_it_may_have_several(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_text(f"{NEW}\n{OLD}\n")
        assert read_keys(tmp_path / "key") == [NEW, OLD]

    @pytest.mark.parametrize("content", ["nothing", "", "\n", "A" * 43 + "=\nnothing"])
    def test_a_file_with_something_else_is_refused(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "key").write_text(content)
        with pytest.raises(SecretsError, match="holds no key"):
            read_keys(tmp_path / "key")

    def test_one_that_cannot_be_made_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(SecretsError, match="cannot be read or made"):
            read_keys(tmp_path / "file" / "key")
