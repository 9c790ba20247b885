"""Which agent the AGENT setting means."""

import re
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

from app.agents.agui import AguiAgent
from app.agents.demo import DemoAgent
from app.agents.port import Agent

ACCEPTED = "demo, agui+http://host:port/path or agui+https://host:port/path"


def agent_factory(setting: str) -> Callable[[], Agent]:
    """Return what makes one agent for each session; raise ValueError that names the accepted forms, not the value."""
    if setting == "demo":
        return DemoAgent
    url = setting.removeprefix("agui+")
    if url == setting or not _is_plain_url(url):
        raise ValueError(f"must be {ACCEPTED}")
    return partial(AguiAgent, url)


def _is_plain_url(url: str) -> bool:
    """An absolute HTTP URL without credentials or fragment."""
    if not re.fullmatch(r"https?://[!-~]+", url) or "#" in url or "\\" in url:
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        return False
