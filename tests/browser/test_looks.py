"""Every view conforms to WCAG 2.2 AA (as axe-core checks it), in light, in dark and on a phone."""

import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenConsole
from tests.support.api import Api
from tests.support.server import ROOT
from tests.support.stage import EmbeddedStage

AXE = ROOT / ".venv/axe/node_modules/axe-core/axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LOOKS = {"light": {}, "dark": {"dark": True}, "phone": {"phone": True}, "phone-dark": {"phone": True, "dark": True}}


def faults(page: Page) -> list[Any]:
    """Return the violations that axe-core finds on a page."""
    page.evaluate(AXE.read_text())
    found = page.evaluate(
        "rules => axe.run(document, {runOnly: rules}).then(({violations}) => violations.map("
        "({id, nodes}) => [id, nodes.map(node => node.html.slice(0, 200))]))",
        RULES,
    )
    return list(found)


@pytest.fixture(params=LOOKS)
def look(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_view_conforms_to_wcag_aa(
    open_console: OpenConsole, embedded: EmbeddedStage, look: str, key: str
) -> None:
    console = open_console(embedded.url, **LOOKS[look])
    assert faults(console.page) == []
    console.sign_in("ak_wrong")
    expect(console.notice).not_to_be_empty()
    assert faults(console.page) == []
    console.sign_in(key)
    expect(console.page.get_by_text("No sessions yet.")).to_be_visible()
    assert faults(console.page) == []
    if "phone" not in look:
        console.press("Shortcuts")
        assert faults(console.page) == []
        console.press("Close")
    console.press("New session")
    assert faults(console.page) == []
    console.press("Cancel")

    console.create("list the files")
    expect(console.log).to_contain_text("The workspace is empty.")
    console.log.get_by_text("list_workspace").click()
    console.send("fail")
    expect(console.log).to_contain_text("as requested")
    assert faults(console.page) == []
    console.press("Delete")
    assert faults(console.page) == []


def test_a_phone_shows_one_view_at_a_time_within_its_width(
    open_console: OpenConsole, embedded: EmbeddedStage, key: str
) -> None:
    console = open_console(embedded.url, phone=True)
    console.sign_in(key)
    console.create("list " + "the-files-" * 50)
    expect(console.log).to_contain_text("The workspace is empty.")
    expect(console.button("New session")).to_be_hidden()
    expect(console.field("Message")).to_be_in_viewport()
    assert console.page.evaluate("document.documentElement.scrollWidth") == 360
    console.page.get_by_role("link", name="All sessions").tap()
    expect(console.log).to_be_hidden()
    expect(console.sessions).to_have_count(1)
    assert console.page.evaluate("document.documentElement.scrollWidth") == 360


def test_the_screenshots_of_the_readme_are_taken(
    open_console: OpenConsole, embedded: EmbeddedStage, embedded_api: Api, look: str, tmp_path: Path
) -> None:
    for name, task in (("Write a haiku", "say hello"), ("Compare two branches", "slow 3000"), ("Tidy up", "ask now")):
        embedded_api.create_session(task=task, display_name=name).ok()
    console = open_console(embedded.url, **LOOKS[look])
    console.sign_in(str(embedded_api.token))
    code = "def total(basket):\n    return sum(item.price * item.count for item in basket)\n"
    console.create(f"write checkout/basket.py {code}", Name="Fix the checkout test")
    expect(console.log).to_contain_text("Wrote checkout/basket.py.")
    console.send("list the files")
    expect(console.log).to_contain_text("The workspace contains:")
    console.send("delete checkout/basket.py")
    expect(console.state).to_have_text("Needs you")
    if "phone" not in look:
        expect(console.sessions).to_contain_text(["Fix the checkout test", "Needs you", "Working", "Idle"])
    if look == "dark":
        console.tab("Changes")
        expect(console.page.locator(".line")).to_have_count(2)
    directory = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    picture = console.page.screenshot(path=directory / f"{look}.png")
    assert picture.startswith(b"\x89PNG")
