"""The choice of an agent for a new session, where the server has several."""

from pathlib import Path

from playwright.sync_api import expect

from tests.browser.conftest import OpenConsole
from tests.browser.test_looks import faults
from tests.support.agents.process import scripted_acp
from tests.support.server import Background
from tests.support.stage import embedded_stage


def test_the_agent_of_a_new_session_is_chosen(open_console: OpenConsole, loop: Background, tmp_path: Path) -> None:
    agents = f"demo,clerk={scripted_acp('--models')},missing=acp:/nowhere/agent"
    with embedded_stage(loop, tmp_path, agent="demo", agents=agents) as stage, stage.api() as api:
        console = open_console(stage.url)
        console.sign_in(str(api.token))
        console.press("New session")
        agent = console.field("Agent")
        expect(agent.get_by_role("option")).to_have_text(["demo", "clerk", "missing (not available)"])
        expect(agent).to_have_value("demo")
        agent.select_option("missing")
        expect(console.page.locator("#agent-hint")).to_have_text("The command agent is not installed.")
        assert faults(console.page) == []
        agent.select_option("clerk")
        expect(console.page.locator("#agent-hint")).to_be_empty()
        console.field("Task").fill("hello")
        console.press("Create")
        expect(console.log).to_contain_text("1: hello")
        expect(console.page.locator("#facts")).to_contain_text("clerk")
        assert api.get_session(console.id).ok()["agent"] == "clerk"

        console.press("New session")
        expect(console.page.locator("#models option")).to_have_count(0)
        console.field("Agent").select_option("clerk")
        expect(console.page.locator("#models option")).to_have_count(2)
