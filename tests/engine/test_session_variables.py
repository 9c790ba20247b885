"""The variables of a session never choose the programs that the operator's command line runs."""

import os
import shutil
from pathlib import Path

import pytest

from app.engine.session_variables import is_refused
from app.errors import BadRequest
from app.models.sessions import Repo, SessionCreate
from app.models.workspaces import PushCreate
from tests.support.repositories import FILE, git, make_repository
from tests.support.scripted import CALLER, open_backend

STEPS = ("clone", "write-tree", "diff-tree", "commit-tree", "push")
"""git's commands for a clone, its baseline, a comparison, and a push."""


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "BASH_ENV"),
        *("SHELLOPTS", "BASHOPTS", "PS4", "GCONV_PATH", "NODE_OPTIONS"),
        *("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYTHONWARNINGS", "PYTHONPYCACHEPREFIX"),
        *("PERL5LIB", "PERL5OPT", "PERL5DB", "PERLLIB", "RUBYLIB", "RUBYOPT"),
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
        *("PERL", "PERL_BADLANG", "RUBY_VERSION", "PS1", "SHELL", "JAVA_TOOL_OPTIONS", "HOME"),
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


async def test_git_never_sees_a_variable_of_a_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, command = tmp_path / "seen", tmp_path / "bin" / "git"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\n{{ echo "command: $*"; env; }} >> {seen}\nexec {shutil.which("git")} "$@"\n')
    command.chmod(0o755)
    origin = make_repository(tmp_path, "origin")
    git(tmp_path, "clone", "--quiet", "--bare", origin, "shop.git")
    names = [
        *("HOME", "XDG_CONFIG_HOME", "ENV", "EDITOR", "PAGER", "SSH_AUTH_SOCK", "SSH_ASKPASS", "DISPLAY", "TMPDIR"),
        *("https_proxy", "ALL_PROXY", "SSL_CERT_FILE", "CURL_HOME", "LC_ALL", "GIT_AUTHOR_NAME", "GIT_COMMITTER_DATE"),
    ]
    assert not any(map(is_refused, names))
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    async with open_backend(tmp_path / "data", git=FILE) as harness:
        session_id = await harness.running(
            repos=[Repo(url=(tmp_path / "shop.git").as_uri())],
            environment_variables={name: f"hostile-{name}" for name in names},
        )
        (tmp_path / "data/workspaces/demo" / session_id / "shop" / "new").write_text("new")
        workspaces = harness.backend.workspaces
        diff = await workspaces.get_workspace_diff(CALLER, session_id, path=b"", limit=10)
        patch = await workspaces.get_workspace_patch(CALLER, session_id, path=b"", state=None)
        assert b"".join([chunk async for chunk in patch.chunks])
        await workspaces.push_workspace(CALLER, session_id, PushCreate(branch="mend"))
    assert [file.path for file in diff.files] == ["shop/new"]
    words = {word for line in seen.read_text().splitlines() if line.startswith("command: ") for word in line.split()}
    assert words.issuperset(STEPS)
    assert "hostile" not in seen.read_text()
