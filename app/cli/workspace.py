"""`sessions diff`, `files`, `get`, `put`, `archive` and `push`: what is in a session's workspace."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import DEFAULT_URL, AsJson, Key, Project, SessionId, Url, connected

MAX_ENTRIES = 100_000

PathInWorkspace = Annotated[
    str, typer.Argument(metavar="PATH", help="A directory in the workspace; default: all of it.", show_default=False)
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="A file or an existing directory instead of standard output."),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace the file if it exists.")]


class ArchiveFormat(StrEnum):
    """The format of an archive."""

    TAR_GZ = "tar.gz"
    ZIP = "zip"


def show_diff(
    session: SessionId,
    path: PathInWorkspace = "",
    *,
    stat: Annotated[
        bool, typer.Option("--stat", help="List the files: how they differ, added and deleted lines, path.")
    ] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """Print what has changed in a workspace as a patch for `git apply`.

    With PATH, such as the directory of a repository, the patch is relative to it.
    """
    from app.cli.changes import count_changes, list_changes, show_patch
    from app.cli.paths import as_query
    from app.cli.transfer import chunks, lines, open_standard_output

    with connected(url, key, project, session) as (client, screen):
        query = as_query(path)
        if stat or as_json:
            changes = client.get("sessions", session, "workspace", "diff", limit=MAX_ENTRIES, **query)
            if as_json:
                screen.line(json.dumps(changes))
                return
            screen.table(("status", "added", "deleted", "path"), list_changes(changes))
            screen.note(count_changes(changes))
            return
        patch = chunks(client.download("sessions", session, "workspace", "patch", query=query))
        if screen.is_terminal:
            show_patch(screen, lines(patch))
            return
        with open_standard_output(screen) as write:
            for chunk in patch:
                write(chunk)


def list_files(
    session: SessionId,
    path: PathInWorkspace = "",
    *,
    depth: Annotated[int | None, typer.Option(min=1, max=128, help="The number of levels; default: all.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_ENTRIES, help="Show at most this many.")] = 10_000,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """List the files of a workspace: bytes, time of the last change and path, separated by tabs.

    A directory ends in /. Names with special characters are quoted as git does it.
    """
    from app.cli.paths import as_query, shown

    with connected(url, key, project, session) as (client, screen):
        query = {**as_query(path), "limit": limit} | ({"depth": depth} if depth else {})
        found = client.get("sessions", session, "workspace", "files", **query)
        if as_json:
            screen.line(json.dumps(found))
            return
        rows = (
            (
                str(item.get("size", "-")),
                item.get("modified_at", "-"),
                shown(item) + "/" * (item["type"] == "directory"),
            )
            for item in found["items"]
        )
        screen.table(("bytes", "changed", "path"), rows)
        if found["truncated"]:
            screen.note("There is more: name a directory, or raise --limit.")


def get_file(
    session: SessionId,
    path: Annotated[str, typer.Argument(metavar="PATH", help="The file in the workspace.")],
    *,
    output: Output = None,
    force: Force = False,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """Print a file of a workspace, or save it with --output. A file that exists is replaced only with --force."""
    from app.cli.paths import as_query
    from app.cli.transfer import download_file, open_output, open_standard_output

    with connected(url, key, project, session) as (client, screen):
        if output is None:
            with open_standard_output(screen) as write:
                download_file(client, session, as_query(path), write)
            return
        with open_output(output, Path(path).name, replace=force) as write:
            download_file(client, session, as_query(path), write)


def put_file(
    session: SessionId,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to send; - sends standard input.")],
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH", help="Its path in the workspace; with / at the end, the directory.", show_default=False
        ),
    ] = "",
    *,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """Write a file into a workspace. A file that is there already is replaced."""
    from app.cli.paths import as_query
    from app.cli.transfer import STDIN, open_input

    name = "" if file == STDIN else Path(file).name
    target = path + name if not path or path.endswith("/") else path
    if not target or target.endswith("/"):
        raise typer.BadParameter("has to name a file for standard input", param_hint="PATH")
    with connected(url, key, project, session) as (client, _), open_input(file) as content:
        client.upload("sessions", session, "workspace", "file", query=as_query(target), content=content)


def get_archive(
    session: SessionId,
    path: PathInWorkspace = "",
    *,
    output: Output = None,
    form: Annotated[
        ArchiveFormat | None,
        typer.Option("--format", help="The format; default: zip for a FILE.zip, otherwise tar.gz.", show_default=False),
    ] = None,
    force: Force = False,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """Save all files of a workspace as an archive with --output, or send it to a pipe."""
    from app.cli.paths import as_query
    from app.cli.transfer import chunks, open_output, open_standard_output

    wanted = form or (ArchiveFormat.ZIP if output and output.suffix.lower() == ".zip" else ArchiveFormat.TAR_GZ)
    if output is None and sys.stdout.isatty():
        raise typer.BadParameter("an archive is not for the terminal; name a file for it", param_hint="--output")
    with connected(url, key, project, session) as (client, screen):
        query = {**as_query(path), "format": wanted}
        archive = client.download("sessions", session, "workspace", "archive", query=query)
        target = open_output(output, f"{session}.{wanted}", replace=force) if output else open_standard_output(screen)
        with archive, target as write:
            for chunk in chunks(archive):
                write(chunk)


def push(
    session: SessionId,
    *,
    branch: Annotated[str, typer.Option("--branch", "-b", help="The branch, which is made if it does not exist.")],
    repo: Annotated[
        str,
        typer.Option(
            "--repo", metavar="DIRECTORY", help="The repository's directory in the workspace, if there are several."
        ),
    ] = "",
    message: Annotated[
        str, typer.Option("--message", "-m", help="The commit's message; default: the session's name, or its task.")
    ] = "",
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """Commit what is in a workspace and push it to a branch of its repository. Print the commit and the branch."""
    with connected(url, key, project, session) as (client, screen):
        body = {"branch": branch} | ({"repo": repo} if repo else {}) | ({"message": message} if message else {})
        screen.busy("Pushing")
        pushed = client.create("sessions", session, "workspace", "push", **body)
        screen.line(json.dumps(pushed) if as_json else f"{pushed['commit']}\t{pushed['branch']}")
