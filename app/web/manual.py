"""The manual as HTML, for the reference page."""

import msgspec
from markdown_it import MarkdownIt

from app import spec


class Chapter(msgspec.Struct, frozen=True):
    """A chapter of the manual. `html` has no title; `name` is the fragment of its address."""

    name: str
    title: str
    html: str


def chapters() -> list[Chapter]:
    """Return the chapters in their order. HTML in their texts is escaped."""
    markdown = MarkdownIt("js-default")
    found = []
    for name, text in spec.manual().items():
        heading, _, body = text.partition("\n")
        found.append(Chapter(name, heading.removeprefix("# "), markdown.render(body)))
    return found
