"""The manual and reference at /v1/docs, as a reader uses it: on a desktop and on a phone, in light and in dark."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, Request, expect
from playwright.sync_api import TimeoutError as NotInTime

from tests.browser.conftest import watch
from tests.browser.console import Console
from tests.browser.test_looks import LOOKS, faults
from tests.support.deadline import eventually
from tests.support.stage import EmbeddedStage

Open = Callable[..., Page]


@pytest.fixture
def open_reference(browser: Browser, embedded: EmbeddedStage) -> Iterator[Open]:
    """Open the reference. Errors of the page, and requests to other servers, fail the test."""
    problems: list[str] = []
    pages: list[Page] = []

    def requested(request: Request) -> None:
        if not request.url.startswith((embedded.url, "data:", "blob:")):
            problems.append(request.url)

    def open_(fragment: str = "", *, dark: bool = False, phone: bool = False, scripts: bool = True) -> Page:
        page = browser.new_page(
            color_scheme="dark" if dark else "light",
            viewport={"width": 375, "height": 740} if phone else {"width": 1400, "height": 900},
            java_script_enabled=scripts,
        )
        page.set_default_timeout(30_000)
        pages.append(page)
        watch(page, problems)
        page.on("request", requested)
        page.goto(f"{embedded.url}/v1/docs{fragment}")
        if scripts:
            page.get_by_role("main", name="API documentation").wait_for()
        return page

    yield open_
    for page in pages:
        page.close()
    assert problems == []


def press(button: Locator, opens: Locator) -> None:
    """Press a button that opens something: again if it has no effect, for the page was not ready."""

    def opened() -> bool:
        button.click()
        try:
            opens.wait_for(timeout=3_000)
        except NotInTime:
            return False
        return True

    eventually(opened)


def test_the_contents_have_each_chapter_and_each_tag(open_reference: Open) -> None:
    contents = open_reference().get_by_role("complementary", name="Sidebar")

    for title in ("Quick start", "Busy sessions", "Versions and deprecation", "Sessions", "Lifecycle"):
        expect(contents.get_by_role("link", name=title, exact=True)).to_be_visible()


def test_the_examples_have_the_address_of_the_server(open_reference: Open, embedded: EmbeddedStage) -> None:
    page = open_reference()

    expect(page.get_by_text(f"API={embedded.url}/v1").first).to_be_visible()


def test_the_search_finds_an_operation(open_reference: Open) -> None:
    page = open_reference()
    page.get_by_role("button", name="Search").first.click()
    page.get_by_role("combobox", name="Search").fill("decide an approval")
    page.get_by_role("option", name="Decide an approval").first.click()

    expect(page.get_by_role("heading", name="Decide an approval").first).to_be_in_viewport()


def test_an_operation_has_samples_in_several_languages(open_reference: Open) -> None:
    page = open_reference("#tag/sessions/GET/sessions/{session_id}")
    operation = page.get_by_role("region", name="Read a session")
    example = operation.get_by_role("group", name="Request Example")

    expect(example).to_contain_text("curl http")
    for language, text in (
        ("TypeScript", "await getSession({"),
        ("Requests", "requests.get("),
        ("NewRequest", "http.NewRequest("),
    ):
        option = page.get_by_role("option", name=language, exact=True)
        press(example.get_by_role("button", name="Change code sample language"), option)
        option.click()
        expect(example).to_contain_text(text)


def test_an_operation_is_tried_with_the_key_of_the_console(console: Console, embedded: EmbeddedStage) -> None:
    console.create("list the files")
    session = console.id
    console.page.goto(f"{embedded.url}/v1/docs#tag/sessions/GET/sessions")
    operation = console.page.get_by_role("region", name="List sessions")
    send = console.page.get_by_role("dialog").get_by_role("button", name="Send").first
    press(operation.get_by_role("button", name="Test Request"), send)
    send.click()

    expect(console.page.get_by_text("200 OK")).to_be_visible()
    expect(console.page.get_by_text(session).first).to_be_visible()


def test_a_link_to_a_chapter_works(open_reference: Open) -> None:
    page = open_reference("#errors")

    expect(page.get_by_role("heading", name="Errors").first).to_be_in_viewport()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_on_a_phone(open_reference: Open, dark: bool) -> None:
    page = open_reference(dark=dark, phone=True)
    expect(page.get_by_role("heading", name="Quick start").first).to_be_visible()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)")

    assert page.evaluate("document.documentElement.scrollWidth") == 375
    assert (max(background[:3]) < 64) is dark


@pytest.mark.parametrize("look", LOOKS)
def test_it_conforms_to_wcag_aa(open_reference: Open, look: str) -> None:
    assert faults(open_reference(**LOOKS[look])) == []


def test_the_manual_can_be_read_without_javascript(open_reference: Open) -> None:
    page = open_reference("#errors", scripts=False)

    expect(page.get_by_role("heading", name="Errors")).to_be_in_viewport()
    expect(page.get_by_role("cell", name="session_not_found")).to_be_attached()
