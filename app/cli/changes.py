"""The changes of a session's workspace: shown as a list, and applied to a directory of this machine."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from app.cli.api import ApiClient, CliError
from app.cli.paths import shown
from app.cli.terminal import Screen, visible
from app.cli.transfer import chunks

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


class ChangesConflict(CliError):
    """The changes do not apply to the directory, which is as it was."""


class Target(NamedTuple):
    """The directory that changes are applied to, its path in its repository, and the repository in the workspace."""

    directory: Path
    prefix: str = ""
    source: str = ""


def find_target(directory: Path, *, repo: str = "") -> Target:
    """Return the target of the changes in all of a workspace, or in its clone of `repo` (a URL).

    Those of a clone belong to the repository that has `directory`. Raises `ValueError` where there is none, or no git.
    """
    found = _git(directory, "rev-parse", "--show-toplevel", "--show-prefix")
    if not repo:
        return Target(directory, found.stdout.partition("\n")[2].strip() if found.returncode == 0 else "")
    if found.returncode != 0:
        raise ValueError(f"{directory} is in no git repository to which the changes could be applied")
    return Target(Path(found.stdout.partition("\n")[0]), source=_directory_of(repo))


def has_uncommitted_changes(directory: Path) -> bool:
    """Return whether files of a repository differ from its last commit, new ones aside.

    Raises `ValueError` where there is no git.
    """
    return bool(_git(directory, "--no-optional-locks", "status", "--porcelain", "--untracked-files=no").stdout)


def get_changes(client: ApiClient, session_id: str, **query: Any) -> dict[str, Any] | None:
    """Return the changes in a workspace as the API lists them, None where there is no workspace. Raises `CliError`."""
    try:
        changes: dict[str, Any] = client.get("sessions", session_id, "workspace", "diff", **query)
    except CliError as error:
        if error.code in {"not_supported", "workspace_not_ready"}:
            return None
        raise
    return changes


def list_changes(changes: dict[str, Any]) -> Iterable[Sequence[str]]:
    """Yield a row for each file that differs: status, added and deleted lines, path."""
    for file in changes["files"]:
        name = shown(file) if "old_path" not in file else f"{shown(file, 'old_path')} => {shown(file)}"
        counts = (str(file[member]) if member in file else "-" for member in ("additions", "deletions"))
        yield (file["status"], *counts, name)


def count_changes(changes: dict[str, Any]) -> str:
    """Return the sum of the changes as a sentence."""
    count = changes["file_count"]
    files = "1 file has changed" if count == 1 else f"{count} files have changed"
    return f"{files} (+{changes['additions']} -{changes['deletions']})."


def apply_changes(client: ApiClient, session_id: str, target: Target, *, state: str = "") -> bool:
    """Apply the changes in a workspace to the target; return whether there are any.

    They are those of a `state` for which `get_changes` has listed them, or of the current one. All of them or none.
    Raises `ChangesConflict`, or another `CliError` if the patch cannot be read.
    """
    query = {name: value for name, value in (("path", target.source), ("state", state)) if value}
    with tempfile.NamedTemporaryFile(prefix="ambient-", suffix=".patch") as patch:
        for chunk in chunks(client.download("sessions", session_id, "workspace", "patch", query=query)):
            patch.write(chunk)
        patch.flush()
        if not patch.tell():
            return False
        command = ("apply", "--whitespace=nowarn", f"--directory={target.prefix}", patch.name)
        for mode in (("--check",), ()):
            done = _git(target.directory, *command, *mode)
            if done.returncode != 0:
                reasons = "; ".join(visible(line.removeprefix("error: ")) for line in done.stderr.splitlines())
                raise ChangesConflict(f"The changes do not apply to {target.directory}, which is as it was: {reasons}.")
    return True


def show_patch(screen: Screen, lines: Iterable[bytes]) -> None:
    """Write a patch to the terminal, with colours, and escapes for what would control it."""
    in_hunk = False
    for line in lines:
        text = visible(line.decode(errors="replace"))
        in_hunk = (in_hunk or text.startswith("@@")) and not text.startswith("diff --git ")
        screen.line(text, _STYLES.get(text[:1], "") if in_hunk else "bold")


def _directory_of(url: str) -> str:
    """Return the directory of a clone in the workspace: the last part of the URL's path, in plain characters."""
    path = urlsplit(url).path if "://" in url else url.partition(":")[2]
    last = unquote(path).rstrip("/").rpartition("/")[2].removesuffix(".git")
    return re.sub(r"[^A-Za-z0-9._-]", "-", last)[:100].strip(".-") or "repo"


def _git(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run git in a directory, whatever repository the environment names. Raises `ValueError` where there is no git."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(directory), *arguments]
    try:
        return subprocess.run(  # noqa: S603 - git, with our arguments
            command, env=environment, capture_output=True, text=True, errors="surrogateescape", check=False
        )
    except FileNotFoundError as error:
        raise ValueError("git is not installed") from error
