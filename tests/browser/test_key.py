"""The key is stored in the tab or on the device, and in no cookie, page or URL but that of a link that signs in."""

from urllib.parse import urlsplit

from playwright.sync_api import Request, expect

from app.models.caller import Role
from tests.browser.conftest import OpenConsole
from tests.browser.console import Console
from tests.support.stage import EmbeddedStage

STORES = "[sessionStorage, localStorage].map(store => JSON.stringify({...store}))"


def test_the_key_is_in_the_header_and_nowhere_else(
    open_console: OpenConsole, embedded: EmbeddedStage, key: str
) -> None:
    console = open_console(embedded.url)
    requests: list[Request] = []
    console.page.on("request", lambda request: requests.append(request))  # noqa: PLW0108 - Playwright takes no built-in method
    console.sign_in(key)
    console.create("say hello")
    expect(console.state).to_have_text("Idle")

    calls = [request for request in requests if urlsplit(request.url).path.startswith("/v1/")]
    assert {request.headers["authorization"] for request in calls} == {f"Bearer {key}"}
    assert {urlsplit(request.url).netloc for request in requests} == {urlsplit(embedded.url).netloc}
    assert not [request.url for request in requests if key in request.url]
    assert key not in console.page.content()
    assert console.page.context.cookies() == []


def test_the_key_is_stored_in_the_tab_unless_the_user_wants_it_on_the_device(console: Console, key: str) -> None:
    expect(console.button("New session")).to_be_visible()
    in_tab, on_device = console.page.evaluate(STORES)
    assert key in in_tab
    assert on_device == "{}"


def test_a_remembered_key_opens_the_next_tab_until_it_is_forgotten(
    open_console: OpenConsole, embedded: EmbeddedStage, key: str
) -> None:
    console = open_console(embedded.url)
    console.sign_in(key, remember=True)
    expect(console.button("New session")).to_be_visible()
    tab = console.page.context.new_page()
    tab.goto(embedded.url)
    tab.get_by_role("button", name="Forget key").click()
    assert tab.evaluate(STORES) == ["{}", "{}"]
    expect(tab.get_by_label("Access key or token")).to_be_focused()


def test_a_wrong_key_is_refused_and_not_stored(open_console: OpenConsole, embedded: EmbeddedStage) -> None:
    console = open_console(embedded.url)
    console.sign_in("ak_wrong")
    expect(console.notice).not_to_be_empty()
    expect(console.field("Access key or token")).to_be_visible()
    assert console.page.evaluate(STORES) == ["{}", "{}"]


def test_a_link_with_the_key_signs_in_and_leaves_the_address_without_it(
    open_console: OpenConsole, embedded: EmbeddedStage, key: str
) -> None:
    console = open_console(embedded.url, fragment=f"#key={key}")
    expect(console.button("New session")).to_be_visible()
    assert console.page.url == f"{embedded.url}/"
    assert key in console.page.evaluate(STORES)[0]
    console.create("say hello")
    console.page.go_back()
    assert key not in console.page.url
    assert key not in console.page.content()


def test_a_link_with_a_new_key_replaces_the_one_of_an_open_tab(
    open_console: OpenConsole, embedded: EmbeddedStage, key: str
) -> None:
    console = open_console(embedded.url)
    console.sign_in(key, remember=True)
    console.create("say hello")
    console.page.evaluate("location.hash = '#key=ak_wrong'")
    expect(console.field("Access key or token")).to_be_visible()
    console.page.evaluate(f"location.hash = '#key={key}'")
    expect(console.button("New session")).to_be_visible()
    expect(console.notice).to_be_empty()
    assert console.page.url == f"{embedded.url}/"


def test_a_key_that_only_reads_has_no_controls(open_console: OpenConsole, embedded: EmbeddedStage) -> None:
    with embedded.api() as owner:
        session_id = embedded.session(owner, "running")
        console = open_console(embedded.url)
        console.sign_in(embedded.token(str(owner.project), Role.VIEW))
        console.page.goto(f"{embedded.url}/#/sessions/{session_id}")
        expect(console.state).to_have_text("Idle")
        for name in ("New session", "Send", "Stop", "Delete"):
            expect(console.button(name)).to_be_hidden()
