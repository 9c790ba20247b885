"""`tail`: what a session has done and is doing."""

from typing import Annotated

import typer

from app.cli.options import DEFAULT_URL, Key, Project, SessionId, Url, connected


def tail(
    session: SessionId,
    *,
    run: Annotated[str | None, typer.Option(help="Show only this run (its id), and end with it.")] = None,
    after: Annotated[str | None, typer.Option(metavar="CURSOR", help="Show only events after this cursor.")] = None,
    follow: Annotated[bool, typer.Option(help="Show new events as they arrive, until Ctrl-C.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the events themselves, one per line.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """Show a session's events, those stored and those to come."""
    from app.cli import stream
    from app.cli.render import Renderer
    from app.cli.terminal import printable_json

    with connected(url, key, project, session) as (client, screen):
        if follow:
            frames = stream.follow(client, session, after=after, run=run, on_loss=screen.note)
        else:
            frames = stream.stored(client, session, after=after, run=run)
        renderer = Renderer(screen, show_users=True)
        for frame in frames:
            if as_json:
                screen.line(printable_json(frame.text))
            else:
                renderer.show(frame.event)
