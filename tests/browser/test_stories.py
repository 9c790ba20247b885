"""Using sessions, by mouse and by keyboard alone."""

import os
import re
import subprocess
from pathlib import Path

from playwright.sync_api import Route, expect

from app.models.caller import Role
from tests.browser.conftest import OpenConsole
from tests.browser.console import Console
from tests.support.api import Api
from tests.support.stage import EmbeddedStage


def test_a_session_is_created_used_and_deleted_by_mouse(console: Console, embedded_api: Api) -> None:
    console.create("list the files", Name="Files of the shop")
    expect(console.page.get_by_role("heading", name="Files of the shop")).to_be_visible()
    expect(console.log).to_contain_text("The workspace is empty.")
    call = console.log.get_by_label("Tool call")
    expect(call).to_contain_text("done")
    expect(call.get_by_role("definition")).to_have_count(0)
    call.get_by_text("list_workspace").click()
    expect(call.get_by_role("definition")).to_have_text("100")

    console.send("slow 2000")
    expect(console.log).to_contain_text("tick 2 of 2000")
    console.send("what did I say?")
    expect(console.page.locator("#queued")).to_contain_text("what did I say?")
    console.press("Interrupt")
    expect(console.log).to_contain_text("Interrupted.")
    expect(console.log).to_contain_text('You said: "list the files", then "slow 2000".')
    expect(console.page.locator("#queue")).to_be_hidden()
    console.send("fail")
    expect(console.log).to_contain_text("The demo agent failed, as requested.")
    expect(console.state).to_have_text("Run failed")
    expect(console.sessions).to_contain_text("Run failed")

    console.press("Stop")
    expect(console.state).to_have_text("Stopped")
    expect(console.button("Send")).to_be_disabled()
    console.press("Start")
    expect(console.state).to_have_text("Run failed")
    console.press("Delete")
    console.press("Keep it")
    assert embedded_api.get_session(console.id).ok()["id"] == console.id
    console.press("Delete")
    console.press("Delete")
    expect(console.page.get_by_text("No sessions yet.")).to_be_visible()
    assert embedded_api.list_sessions().ok()["total"] == 0


def test_a_session_is_created_used_and_deleted_by_keyboard(
    open_console: OpenConsole, embedded: EmbeddedStage, embedded_api: Api, key: str
) -> None:
    console = open_console(embedded.url)
    page, keyboard = console.page, console.page.keyboard
    expect(console.field("Access key or token")).to_be_focused()
    keyboard.type(key)
    keyboard.press("Enter")
    expect(console.button("New session")).to_be_focused()
    keyboard.press("n")
    keyboard.type("list the files")
    keyboard.press("Control+Enter")
    expect(console.log).to_contain_text("The workspace is empty.")

    keyboard.press("m")
    expect(console.field("Message")).to_be_focused()
    expect(console.button("Send")).to_be_enabled()
    keyboard.type("slow 2000")
    keyboard.press("Enter")
    expect(console.log).to_contain_text("tick 1 of 2000")
    keyboard.press("Escape")
    keyboard.press("i")
    expect(console.log).to_contain_text("Interrupted.")

    console.button("Delete").focus()
    keyboard.press("Enter")
    expect(console.button("Keep it")).to_be_focused()
    keyboard.press("Tab")
    keyboard.press("Enter")
    expect(page.get_by_text("No sessions yet.")).to_be_visible()
    assert embedded_api.list_sessions().ok()["total"] == 0


def test_a_message_is_not_shown_as_queued_when_its_run_begins_before_the_response(console: Console) -> None:
    def respond_late(route: Route) -> None:
        response = route.fetch()
        expect(console.log).to_contain_text("tick 1 of 2000")
        route.fulfill(response=response)

    console.create("say hello")
    console.settled()
    console.page.route("**/message", respond_late)
    console.send("slow 2000")
    expect(console.field("Message")).to_have_value("")
    expect(console.page.locator("#queue")).to_be_hidden()
    console.press("Interrupt")
    expect(console.log).to_contain_text("Interrupted.")


def test_single_keys_do_nothing_once_they_are_switched_off(console: Console) -> None:
    console.press("Shortcuts")
    console.field("Enable single-key shortcuts").uncheck()
    console.press("Close")
    console.page.reload()
    expect(console.button("New session")).to_be_visible()
    console.page.keyboard.press("n")
    console.page.keyboard.press("?")
    assert console.page.locator("dialog[open]").count() == 0


def test_many_sessions_are_searched_filtered_and_paged(console: Console, embedded_api: Api) -> None:
    for number in range(22):
        embedded_api.create_session(task="say hello", display_name=f"Session {number:02}").ok()
    console.page.reload()
    expect(console.sessions).to_have_count(20)
    expect(console.page.locator("#range")).to_have_text("1 to 20 of 22")
    console.press("Older")
    expect(console.sessions).to_have_count(2)
    expect(console.button("Older")).to_be_disabled()
    console.field("Search").fill("Session 07")
    expect(console.sessions).to_have_count(1)
    expect(console.sessions.first).to_contain_text("Session 07")
    console.field("State").select_option("Failed")
    expect(console.page.get_by_text("No sessions match.")).to_be_visible()


def test_the_last_command_can_be_copied_and_run(console: Console, embedded_api: Api, tmp_path: Path, key: str) -> None:
    console.create("say it's $HOME `here`")
    first = console.id
    console.send("it's $HOME and `more`")
    expect(console.page.locator("#command")).to_contain_text("/message")
    console.press("Copy curl")
    command = console.page.evaluate("navigator.clipboard.readText()")
    assert key not in command

    script = tmp_path / "again.sh"
    script.write_text(command)
    environment = {"PATH": os.environ["PATH"], "AMBIENT_KEY": key}
    result = subprocess.run(["bash", script], env=environment, capture_output=True, text=True, check=True)  # noqa: S603, S607 - the page's command

    assert re.search(r'"run_id":"[0-9a-f-]{36}"', result.stdout)
    messages = [run.get("user_message") for run in embedded_api.list_runs(first).ok()["runs"]]
    assert messages[1:] == ["it's $HOME and `more`"] * 2


def test_an_error_is_shown_in_the_words_of_the_server(
    open_console: OpenConsole, embedded: EmbeddedStage, embedded_api: Api
) -> None:
    session = embedded.session(embedded_api, "running")
    console = open_console(embedded.url)
    console.sign_in(embedded.token(str(embedded_api.project), Role.EDIT))
    console.sessions.first.click()
    console.send("x" * 1_000_001)
    error = embedded_api.send_message(session, "x" * 1_000_001).body["error"]
    expect(console.notice).to_have_text(error)
