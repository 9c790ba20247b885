"""An agent's output is shown live, once, and as text, whatever it contains and whatever the network does."""

from collections.abc import AsyncIterator

from playwright.sync_api import expect

from app.agents.port import Turn
from tests.browser.conftest import Scripted
from tests.browser.console import Console
from tests.browser.proxy import Proxy
from tests.support.api import Api
from tests.support.scripted import FINISHED, STARTED, event

LINES = [
    "<script>document.title = 'hacked'</script>",
    "<img src=x onerror=\"document.title = 'hacked'\">",
    "<svg onload=\"document.title = 'hacked'\"><style>body { display: none }</style>",
    "[press me](javascript:document.title='hacked') [and me](data:text/html,hacked) [me too](https://example.com/)",
    "![spy](https://example.com/spy.png)",
    "<form action=https://example.com><input name=key></form><iframe src=https://example.com></iframe>",
    "control \x00\x07\x1b[31m and direction \u202edesrever\u202c",
]
HOSTILE = "\n\n".join(LINES)
DEEP = "> " * 9000
LONG = 10_000_000


def message(number: int, *deltas: str) -> list[bytes]:
    """The events of one message."""
    id_ = f"message-{number}"
    content = [event("TEXT_MESSAGE_CONTENT", messageId=id_, delta=delta) for delta in deltas]
    start = event("TEXT_MESSAGE_START", messageId=id_, role="assistant")
    return [start, *content, event("TEXT_MESSAGE_END", messageId=id_)]


async def hostile(_turn: Turn) -> AsyncIterator[bytes]:
    """Send text that could break pages, in every place where an agent can send text."""
    yield STARTED
    for each in message(1, HOSTILE):
        yield each
    yield event("REASONING_MESSAGE_CONTENT", messageId="thought", delta=HOSTILE)
    yield event("TOOL_CALL_START", toolCallId="call", toolCallName=LINES[1])
    yield event("TOOL_CALL_ARGS", toolCallId="call", delta=HOSTILE)
    yield event("TOOL_CALL_RESULT", messageId="result", toolCallId="call", content=HOSTILE)
    for each in message(2, DEEP):
        yield each
    yield event("RUN_ERROR", message=LINES[0])


async def long(_turn: Turn) -> AsyncIterator[bytes]:
    """Send ten million characters in a hundred pieces, then a short message."""
    yield STARTED
    for each in message(1, *["0123456789" * (LONG // 1000)] * 100):
        yield each
    for each in message(2, "That was all."):
        yield each
    yield FINISHED


async def thoughtful(_turn: Turn) -> AsyncIterator[bytes]:
    """Reason, then reply in Markdown."""
    yield STARTED
    yield event("REASONING_MESSAGE_START", messageId="thought", role="reasoning")
    yield event("REASONING_MESSAGE_CONTENT", messageId="thought", delta="Hm.")
    yield event("REASONING_MESSAGE_END", messageId="thought")
    for each in message(1, "# Found\n\n* one **file**\n* `two`\n\n| a | b |\n|---|---|\n| 1 ", "| 2 |\n"):
        yield each
    yield FINISHED


async def costly(_turn: Turn) -> AsyncIterator[bytes]:
    """Report usage."""
    yield STARTED
    yield event("RUN_FINISHED", usage=[{"inputTokens": 1234, "outputTokens": 5}])


def test_a_reply_is_rendered_as_markdown_and_reasoning_is_collapsed(scripted: Scripted) -> None:
    with scripted(thoughtful) as console:
        console.create("say hello")
        expect(console.log.get_by_role("listitem")).to_have_text(["one file", "two"])
        expect(console.log.locator("strong")).to_have_text("file")
        expect(console.log.get_by_role("cell")).to_have_text(["1", "2"])
        expect(console.log.get_by_text("Hm.")).to_be_hidden()
        console.log.get_by_text("Reasoning", exact=True).click()
        expect(console.log.get_by_text("Hm.")).to_be_visible()


def test_the_usage_is_shown_below_the_title(scripted: Scripted) -> None:
    with scripted(costly) as console:
        console.create("say hello")
        expect(console.page.get_by_text("1,234 tokens in, 5 out")).to_be_visible()


def test_a_lost_connection_resumes_without_duplicates(proxied: tuple[Console, Proxy], embedded_api: Api) -> None:
    console, proxy = proxied
    positions: list[str | None] = []
    console.page.on(
        "request",
        lambda request: positions.append(request.headers.get("last-event-id")) if "/events" in request.url else None,
    )
    console.create("slow 40")
    for tick in (5, 12, 19, 26):
        expect(console.log).to_contain_text(f"tick {tick} of 40")
        proxy.abort()
    expect(console.log).to_contain_text("tick 40 of 40")
    console.settled()

    shown = console.log.locator(".assistant .body").inner_text()
    [_, reply] = embedded_api.output(console.id).ok()["messages"]
    assert proxy.aborted >= 4
    first, *resumed = positions
    assert first is None
    assert len(resumed) >= 4
    assert all(resumed)
    assert shown.split() == reply["content"].split()
    expect(console.page.locator("#connection")).to_have_class("live")


def test_a_hostile_transcript_stays_text(scripted: Scripted) -> None:
    with scripted(hostile) as console:
        console.create(HOSTILE.replace("\x00", ""), Name=LINES[1])
        expect(console.log.locator(".error .body")).to_have_text(LINES[0])
        console.log.get_by_label("Tool call").locator("summary").click()
        for part in (".user", ".assistant", ".tool", ".reasoning"):
            shown = console.log.locator(part).first
            for line in (*LINES[:3], LINES[5]):
                expect(shown).to_contain_text(line)
        expect(console.page.get_by_role("heading", name=LINES[1])).to_be_visible()

        links = console.log.get_by_role("link").evaluate_all("links => links.map(link => [link.href, link.rel])")
        assert links == [["https://example.com/", "noopener noreferrer"]]
        forbidden = "script, img, svg, style, form, input, iframe, [onerror], [onload], [style]"
        assert console.log.locator(forbidden).count() == 0
        expect(console.log.locator(".assistant").first).to_contain_text("control ␀␇␛[31m and direction �desrever�")
        assert console.page.title() != "hacked"


def test_ten_million_characters_do_not_freeze_the_page(scripted: Scripted) -> None:
    with scripted(long) as console:
        console.create("say hello")
        expect(console.log).to_contain_text("That was all.")
        more = console.log.get_by_role("button").filter(visible=True)
        expect(more).to_have_text("Show more (20,000 of 10,000,000 characters shown)")
        more.click()
        expect(more).to_have_text("Show more (120,000 of 10,000,000 characters shown)")
        assert len(console.log.inner_text()) < 130_000
        console.field("Message").fill("still here")
        expect(console.field("Message")).to_have_value("still here")
