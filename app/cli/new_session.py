"""The options of a new session, as `run` and `sessions create` take them."""

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.common import read_standard_input

if TYPE_CHECKING:
    from app.cli.api import ApiClient, CliError

_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*|[^/:]*:(?!//)")
"""The part of a repository's URL that may have an `@` before the user's host: of a URL, or of git's short form."""


class Approve(StrEnum):
    """The decision on approvals that the agent requests."""

    ASK = "ask"
    ALLOW = "allow"
    DENY = "deny"


Task = Annotated[
    str, typer.Argument(metavar="TASK", help="The first message to the agent; - reads it from standard input.")
]
Name = Annotated[str, typer.Option("--name", help="A display name.")]
Model = Annotated[str, typer.Option("--model", help="The language model.")]
Repo = Annotated[
    list[str],
    typer.Option("--repo", metavar="URL[@REF]", help="A repository to clone; may be repeated."),
]
Directory = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        metavar="DIRECTORY",
        help="Work on a directory of the server's machine: in a new git worktree of it, or in the directory itself "
        "if it is no repository.",
    ),
]
InPlace = Annotated[bool, typer.Option("--in-place", help="Work in the directory of --dir itself in any case.")]
Env = Annotated[
    list[str],
    typer.Option(
        "--env",
        metavar="NAME[=VALUE]",
        help="An environment variable of the session, by default with the value that you have; may be repeated.",
    ),
]
Label = Annotated[list[str], typer.Option("--label", metavar="KEY=VALUE", help="A label; may be repeated.")]

IdleTimeout = Annotated[
    int | None,
    typer.Option(
        "--idle-timeout", metavar="SECONDS", min=1, help="Stop the session once it has been idle for so long."
    ),
]
StopOnRunFinished = Annotated[
    bool, typer.Option("--stop-on-run-finished", help="Stop the session once it has nothing left to do.")
]


def fields_of(
    *,
    name: str,
    agent: str,
    model: str,
    repos: list[str],
    directory: Path | None,
    in_place: bool,
    env: list[str],
    labels: list[str],
    approve: Approve,
    idle_timeout: int | None = None,
    stop_on_run_finished: bool = False,
) -> dict[str, Any]:
    """Return the fields of a new session beside its task. Raises `typer.BadParameter`."""
    fields = {
        "display_name": name,
        "agent": agent,
        "model": model,
        "repos": [_repo(each) for each in repos],
        "workspace": _workspace(directory, is_alone=not repos, in_place=in_place),
        "environment_variables": dict(map(_variable, env)),
        "labels": dict(map(_label, labels)),
        "approval_policy": "" if approve is Approve.ASK else approve.value,
        "idle_timeout_seconds": idle_timeout,
        "stop_on_run_finished": stop_on_run_finished,
    }
    return {field: value for field, value in fields.items() if value}


def read_task(task: str) -> str:
    """Return the text of a task, which `-` reads from standard input."""
    return read_standard_input() if task == "-" else task


def explain(error: "CliError", client: "ApiClient", fields: dict[str, Any]) -> "CliError":
    """Return the error for a session that was refused, with the next step if it is the server that has to permit it."""
    from app.cli.api import CliError

    if "workspace" not in fields or "body.workspace.path" not in error.locations:
        return error
    path = Path(fields["workspace"]["path"])
    if not path.is_dir():
        return CliError(f"{error} There is no directory {path} on this machine.", code=error.code)
    project = client.get("whoami").get("project", "PROJECT")
    return CliError(
        f"{error} The server has to be on this machine and to be started with LOCAL_ROOTS={project}={path}, or a "
        "directory above that. Anywhere else use --repo.",
        code=error.code,
    )


def _repo(text: str) -> dict[str, str]:
    """Return a repository from `URL[@REF]`. An `@` that begins a part of the path belongs to the URL."""
    if Path(text).is_dir():
        raise typer.BadParameter(f"{text} is a directory; use --dir for one", param_hint="--repo")
    authority = _AUTHORITY.match(text)
    start = authority.end() if authority else 0
    url, separator, ref = text[start:].rpartition("@")
    if not separator or not url or url.endswith("/"):
        return {"url": text}
    if not ref:
        raise typer.BadParameter("the ref after @ is missing", param_hint="--repo")
    return {"url": text[:start] + url, "branch": ref}


def _workspace(directory: Path | None, *, is_alone: bool, in_place: bool) -> dict[str, str]:
    if directory is None:
        if in_place:
            raise typer.BadParameter("only with --dir", param_hint="--in-place")
        return {}
    if not is_alone:
        raise typer.BadParameter("cannot be combined with --repo", param_hint="--dir")
    path = directory.expanduser().resolve()
    if not path.is_dir():  # on the server's machine there may be one
        return {"path": str(path)} | ({"mode": "in_place"} if in_place else {})
    is_repository = os.path.lexists(path / ".git")
    above = next((parent for parent in path.parents if os.path.lexists(parent / ".git")), None)
    if above is not None and not is_repository and not in_place:
        raise typer.BadParameter(
            f"{path} is a part of the git repository {above}; name that, or add --in-place", param_hint="--dir"
        )
    return {"path": str(path), "mode": "worktree" if is_repository and not in_place else "in_place"}


def _variable(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator and name not in os.environ:
        raise typer.BadParameter(f"{name} is not set in your environment", param_hint="--env")
    return name, value if separator else os.environ[name]


def _label(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator:
        raise typer.BadParameter(f"{text} has to be such as team=checkout", param_hint="--label")
    return key, value
