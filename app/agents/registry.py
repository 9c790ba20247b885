"""Which agent the AGENT setting means."""

import re
import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from app.agents.port import Agent

ACCEPTED = "demo, agui+http://host:port/path, agui+https://host:port/path or acp:<command line>"


def agent_factory(setting: str, *, names: Sequence[str], records: Path) -> Callable[[], Agent]:
    """Return what makes one agent for each session; raise ValueError that names the accepted forms, not the value.

    An agent that is a process of this machine sees the environment variables `names`, and is written down in the
    directory `records` while it runs. Only the kind that is used is imported: what others need costs a second.
    """
    if setting == "demo":
        from app.agents.demo import DemoAgent  # noqa: PLC0415 - see above

        return DemoAgent
    if setting.startswith("acp:") and (command := command_of(setting)):
        from app.agents.acp.agent import AcpAgent  # noqa: PLC0415 - see above

        return partial(AcpAgent, command, names, records)
    url = setting.removeprefix("agui+")
    if url == setting or not _is_plain_url(url):
        raise ValueError(f"must be {ACCEPTED}")
    from app.agents.agui import AguiAgent  # noqa: PLC0415 - see above

    return partial(AguiAgent, url)


def command_of(setting: str) -> list[str]:
    """The words of an ACP agent's command line; none if it is not well-formed."""
    try:
        return shlex.split(setting.removeprefix("acp:"))
    except ValueError:
        return []


def _is_plain_url(url: str) -> bool:
    """An absolute HTTP URL without credentials or fragment."""
    if not re.fullmatch(r"https?://[!-~]+", url) or "#" in url or "\\" in url:
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        return False
