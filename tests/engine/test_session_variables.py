"""The variables of a session never choose the programs that the operator's command line runs."""

from pathlib import Path

import pytest

from app.engine.session_variables import is_refused
from app.errors import BadRequest
from app.models.sessions import SessionCreate
from tests.support.scripted import CALLER, open_backend


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "BASH_ENV"),
        *("NODE_OPTIONS", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP"),
        *("GIT_SSH_COMMAND", "GIT_", "GIT_AUTHOR_X", "GIT_CONFIG_COUNT", "GIT_EXEC_PATH"),
    ],
)
def test_variables_that_choose_programs_are_refused(name: str) -> None:
    assert is_refused(name)


@pytest.mark.parametrize(
    "name",
    [
        *("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_AUTHOR_DATE", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"),
        *("PATHS", "MY_PATH", "path", "LD", "GITHUB_TOKEN", "PYTHONUNBUFFERED", "NODE_ENV", "ENV"),
    ],
)
def test_other_variables_are_accepted(name: str) -> None:
    assert not is_refused(name)


async def test_a_session_with_refused_variables_is_not_created(tmp_path: Path) -> None:
    async with open_backend(tmp_path) as harness:
        variables = {"LD_PRELOAD": "./evil.so", "TOKEN": "x", "PATH": "repo:/bin"}
        with pytest.raises(BadRequest) as refused:
            await harness.backend.sessions.create_session(
                CALLER, SessionCreate(task="t", environment_variables=variables)
            )
    assert [detail.location for detail in refused.value.details] == [
        "body.environment_variables.LD_PRELOAD",
        "body.environment_variables.PATH",
    ]
    assert "evil" not in refused.value.message
