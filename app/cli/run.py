"""`run`: one task in a session of its own, from its creation to its end."""

import itertools
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.attachments import Attach
from app.cli.common import DEFAULT_URL, AgentName, Key, Project, Url, connected, program
from app.cli.new_session import (
    Approve,
    Directory,
    Env,
    IdleTimeout,
    InPlace,
    Label,
    Model,
    Name,
    Repo,
    StopOnRunFinished,
    Task,
    explain,
    fields_of,
    read_task,
)

if TYPE_CHECKING:
    from app.cli.api import ApiClient, CliError
    from app.cli.changes import Target
    from app.cli.conversation import Conversation, Decide
    from app.cli.terminal import Screen

MAX_LISTED = 20
"""Changed files that are listed at the end."""
MAX_ANSWER = 65536 - 3
"""Bytes of an answer that the API may have shortened, within a character or at its end."""


def run(
    task: Task,
    *,
    attach: Attach = [],  # noqa: B006 - typer copies it
    repo: Repo = [],  # noqa: B006 - typer copies it
    directory: Directory = None,
    in_place: InPlace = False,
    agent: AgentName = "",
    model: Model = "",
    name: Name = "",
    env: Env = [],  # noqa: B006 - typer copies it
    label: Label = [],  # noqa: B006 - typer copies it
    approve: Annotated[
        Approve,
        typer.Option(help="Whether the agent may do what it requests approval for: you are asked, always, or never."),
    ] = Approve.ASK,
    idle_timeout: IdleTimeout = None,
    stop_on_run_finished: StopOnRunFinished = False,
    apply: Annotated[
        bool,
        typer.Option(
            "--apply",
            help="Once the task is done, apply its changes to the directory of --dir, to your clone of --repo in which "
            "you are, or else to the working directory: all of them or none.",
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object at the end, and everything else on standard error."),
    ] = False,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """Give an agent a task, show its work, and wait for the end.

    Approvals are decided at the prompt. Ctrl-C interrupts the task, a second Ctrl-C exits. Where standard output is no
    terminal, it has only the answer. The exit status is 0 if the task is done, 1 if it has failed, 3 if the agent waits
    for a decision, 4 if the server cannot be reached, 5 if the task is done but its changes do not apply, 130 if it was
    interrupted, and 2 for a wrong command line.
    """
    from app.cli.conversation import Conversation

    fields = fields_of(
        name=name,
        agent=agent,
        model=model,
        repos=repo,
        directory=directory,
        in_place=in_place,
        env=env,
        labels=label,
        approve=approve,
        idle_timeout=idle_timeout,
        stop_on_run_finished=stop_on_run_finished,
    )
    target = _find_target(fields) if apply else None
    text = read_task(task)
    reserve_output = as_json or not sys.stdout.isatty()
    with connected(url, key, project, reserve_output=reserve_output) as (client, screen):
        _warn(screen, fields)
        decide = _decider(screen, is_attended=task != "-")
        conversation = Conversation(client, screen, decide=decide, new=fields, files=attach)
        report = _carry_out(client, conversation, text, fields, target, decide=decide)
        if reserve_output and not as_json and "answer" in report.get("run", {}):
            screen.result(report["run"]["answer"])
        _explain(screen, report, target.source if target else "")
        if as_json:
            screen.result(json.dumps(report))
    if exit_status := report["outcome"].exit_status:
        raise typer.Exit(exit_status)


def _carry_out(
    client: "ApiClient",
    conversation: "Conversation",
    text: str,
    fields: dict[str, Any],
    target: "Target | None",
    *,
    decide: "Decide",
) -> dict[str, Any]:
    """Return how the task ended, in the form that --json prints."""
    from app.cli.api import CliError
    from app.cli.changes import ChangesConflict, apply_changes, get_changes
    from app.cli.outcome import Outcome, outcome_of

    report: dict[str, Any] = {}
    try:
        ended = conversation.send(text)
        while ended.outcome is Outcome.WAITING:
            report["approvals"] = conversation.pending_approvals()
            allow = decide(report["approvals"][0]) if report["approvals"] else None
            if allow is None:
                break
            ended = conversation.decide(report["approvals"][0], allow=allow) or ended
        report |= {"outcome": ended.outcome, "run": ended.run}
        if ended.outcome is not Outcome.WAITING:
            report.pop("approvals", None)
        session_id = str(conversation.session_id)
        with suppress(CliError):  # the task is done whether its changes can be listed or not
            if changes := get_changes(client, session_id):
                report["changes"] = changes
        if target and ended.outcome is Outcome.DONE:
            report["applied"] = apply_changes(
                client, session_id, target, state=report.get("changes", {}).get("state", "")
            )
    except ChangesConflict as error:
        report |= {"outcome": Outcome.CONFLICT, "error": str(error), "applied": False}
    except CliError as error:
        report |= {"outcome": outcome_of(error), "error": _message(error, client, conversation, fields)}
    except KeyboardInterrupt:
        report["outcome"] = Outcome.INTERRUPTED
    return {"session_id": conversation.session_id} | report if conversation.session_id else report


def _explain(screen: "Screen", report: dict[str, Any], source: str) -> None:
    """Write on standard error what has come of the task, and what can be done next.

    `source` is the repository in the workspace whose changes are applied, if they are.
    """
    from app.cli.changes import count_changes, list_changes
    from app.cli.outcome import Outcome
    from app.cli.paths import shown

    outcome, session_id = report["outcome"], report.get("session_id")
    changes = report.get("changes", {"file_count": 0, "files": []})
    for row in itertools.islice(list_changes(changes), MAX_LISTED):
        screen.note("  ".join(row), "")
    if changes["file_count"]:
        screen.note(count_changes(changes), "")
    if report.get("applied"):
        screen.note("They have been applied.", "")
    for file in changes["files"]:
        if file.get("too_large"):
            screen.note(f"{shown(file)} is too large to be compared or applied.", "yellow")
    if len(report.get("run", {}).get("answer", "").encode()) >= MAX_ANSWER:
        screen.note(f"The answer may be longer. To see all of it: {program()} tail {session_id} --no-follow", "yellow")
    if "error" in report:
        screen.error(report["error"])
    for approval in report.get("approvals", ()):
        screen.note(f"It waits for a decision: {approval.get('message') or approval.get('tool_name', '')}", "yellow")
    if session_id is None or (outcome is Outcome.FAILED and "error" in report):
        return
    if outcome is Outcome.UNREACHABLE:
        screen.note(f"The session goes on meanwhile. To wait for it: {program()} sessions wait {session_id}")
        return
    if changes["file_count"]:
        purpose = "get the patch" if outcome is Outcome.CONFLICT else "see the changes"
        screen.note(f"To {purpose}: {program()} sessions diff {' '.join(filter(None, (session_id, source)))}")
    screen.note(f"To {'decide' if 'approvals' in report else 'continue'}: {program()} chat {session_id}")


def _warn(screen: "Screen", fields: dict[str, Any]) -> None:
    """Say what of a local directory the agent does not get."""
    from app.cli.changes import has_uncommitted_changes

    workspace = fields.get("workspace", {})
    with suppress(ValueError):
        if workspace.get("mode") == "worktree" and has_uncommitted_changes(Path(workspace["path"])):
            screen.note("The agent begins at the last commit; what you have not committed is not there.", "yellow")


def _message(error: "CliError", client: "ApiClient", conversation: "Conversation", fields: dict[str, Any]) -> str:
    if conversation.session_id is None:
        return str(explain(error, client, fields))
    return "The session has been deleted." if error.code == "session_not_found" else str(error)


def _decider(screen: "Screen", *, is_attended: bool) -> "Decide":
    """Return what decides approvals: the person at the terminal, or nobody."""
    from app.cli.prompt import Prompt, has_person

    if not (is_attended and has_person()):
        return lambda _approval: None
    prompt, is_left = Prompt(screen), False

    def decide(approval: dict[str, Any]) -> bool | None:
        nonlocal is_left
        try:
            return None if is_left else prompt.decide_now(approval)
        except EOFError:
            is_left = True
            return None

    return decide


def _find_target(fields: dict[str, Any]) -> "Target":
    """Return where the changes of a new session are to be applied. Raises `typer.BadParameter`."""
    from app.cli.changes import find_target

    workspace, repos = fields.get("workspace", {}), fields.get("repos", [])
    if workspace.get("mode") == "in_place":
        raise typer.BadParameter("the agent works in the directory itself", param_hint="--apply")
    if len(repos) > 1:
        raise typer.BadParameter("cannot be combined with more than one --repo", param_hint="--apply")
    try:
        return find_target(Path(workspace.get("path", ".")), repo=repos[0]["url"] if repos else "")
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--apply") from error
