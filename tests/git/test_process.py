"""git reaches other repositories by the protocols of its `Git` alone, whatever a repository configures."""

from pathlib import Path

import pytest

from app.git.process import Git, GitFailed
from app.sandbox.bubblewrap import View
from tests.support.repositories import git

ALLOWED_BY_THE_REPOSITORY = ("protocol.allow=always", "protocol.ext.allow=always")


@pytest.mark.parametrize("protocols", [(), ("https", "ssh"), ("file",)])
async def test_no_program_runs_as_a_protocol(tmp_path: Path, protocols: tuple[str, ...]) -> None:
    repository, mark = tmp_path / "repository", tmp_path / "mark"
    git(tmp_path, "init", "--quiet", str(repository))
    for setting in (*ALLOWED_BY_THE_REPOSITORY, f"remote.origin.url=ext::touch {mark}"):
        git(repository, "config", *setting.split("=", 1))
    fetch = ("--git-dir", str(repository / ".git"), "fetch", "origin")

    with pytest.raises(GitFailed, match="transport 'ext' not allowed"):
        await Git(view=View(network=False), protocols=protocols).run(*fetch)
    assert not mark.exists()

    with pytest.raises(GitFailed):
        await Git(view=View(network=False), protocols=("ext",)).run(*fetch)
    assert mark.exists(), "the program runs where nothing prevents it"
