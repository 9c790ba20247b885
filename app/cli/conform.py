"""`conform`: whether a server keeps the contract."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import DEFAULT_URL, Key, Project, Url


def conform(
    *,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
    quick: Annotated[str, typer.Option(help="A message that the agent answers at once.")] = "list the files",
    slow: Annotated[
        str, typer.Option(help='A message whose answer takes seconds; "" leaves out the rules that need it.')
    ] = "slow 50",
    asking: Annotated[
        str, typer.Option(help='A message that makes the agent ask for approval; "" leaves out that rule.')
    ] = "delete notes.txt",
    fuzz: Annotated[
        int, typer.Option(min=0, help="How many requests to make up for each operation; 0 leaves them out.")
    ] = 10,
    seed: Annotated[int | None, typer.Option(help="Make up the same requests again.", show_default=False)] = None,
    junit: Annotated[
        Path | None, typer.Option(help="Write a JUnit report to this file.", dir_okay=False, show_default=False)
    ] = None,
) -> None:
    """Check whether a server keeps the contract of this API; exit with 1 if it does not.

    Creates a session in the key's project, takes it through its life, and deletes it; made-up requests create more.
    Use a project of its own. The messages are for the demo agent.
    """
    try:
        from app.conform import fuzz as made_up
        from app.conform import report
        from app.conform.caller import Caller
        from app.conform.rules import check_all
        from app.conform.subject import Messages, Subject
    except ModuleNotFoundError as error:
        typer.echo("error: this needs more packages: pip install 'ambient-public-api[conform]'", err=True)
        raise typer.Exit(2) from error

    with Caller(url, key=key, project=project) as caller:
        results = []
        for result in check_all(Subject(caller, Messages(quick, slow, asking))):
            typer.echo(result.line())
            results.append(result)
        reports = [report.junit(results, "rules")]
        broken = sum(result.outcome in {report.Outcome.FAILED, report.Outcome.ERROR} for result in results)
        fits = True
        if fuzz:
            fits, fuzzed = made_up.run(caller.base, key=key, project=project, examples=fuzz, seed=seed)
            reports.append(fuzzed)
    if junit:
        report.write(junit, *reports)
    typer.echo(
        f"{len(results) - broken} of {len(results)} rules hold" + ("" if fits else "; some responses do not fit")
    )
    if broken or not fits:
        raise typer.Exit(1)
