"""Approvals and tool calls in the console: all arguments before the decision, and the true state afterwards."""

from collections.abc import AsyncIterator

from playwright.sync_api import Route, expect

from app.agents.port import Turn
from app.models.approvals import ApprovalOption, ApprovalRequest
from tests.browser.conftest import Scripted
from tests.browser.console import Console
from tests.browser.test_looks import faults
from tests.support.scripted import FINISHED, STARTED, event, last_message

COMMAND = "rm -rf build &&\n  ls -la\u202ebuild"
BEFORE = "import sys\n\nprint('hello')\n"
AFTER = "import sys\n\nprint('hello', sys.argv[1])\n"
DIFF = {"type": "diff", "path": "hello.py", "oldText": BEFORE, "newText": AFTER}
OPTIONS = [
    ApprovalOption(id="ever", name="Always allow " + "every " * 50 + "edit", kind="allow_always"),
    ApprovalOption(id="yes", name="Allow", kind="allow_once"),
    ApprovalOption(id="never", name="Never", kind="reject_always"),
    ApprovalOption(id="no", name="Reject", kind="reject_once"),
]


async def careful(turn: Turn) -> AsyncIterator[bytes]:
    """Fail at one tool call, then ask for permission for another one, as an ACP agent does."""
    yield STARTED
    run = turn.input["runId"]
    yield event("TOOL_CALL_START", toolCallId=f"test-{run}", toolCallName="bash")
    yield event("TOOL_CALL_ARGS", toolCallId=f"test-{run}", delta='{"command": "pytest -q"}')
    yield event("TOOL_CALL_RESULT", messageId=f"m-{run}", toolCallId=f"test-{run}", content="1 failed", isError=True)
    if "edit" in last_message(turn):
        yield event("TOOL_CALL_START", toolCallId=f"call-{run}", toolCallName="Write")
        details = {"toolCallId": f"call-{run}", "title": "Write hello.py", "content": [DIFF]}
        yield event("CUSTOM", name="acp.tool_call", value=details)
        args: object = {"file_path": "/data/hello.py", "content": AFTER}
    else:
        yield event("TOOL_CALL_START", toolCallId=f"call-{run}", toolCallName="Terminal")
        args = {"command": COMMAND, "timeout": 5}
    request = ApprovalRequest(message="May I?", tool_call_id=f"call-{run}", args=args, options=OPTIONS)
    decision = await turn.request_approval(request)
    failed = None if decision.allowed else True
    yield event("TOOL_CALL_RESULT", messageId=f"n-{run}", toolCallId=f"call-{run}", content="so be it", isError=failed)
    yield FINISHED


def test_a_command_is_shown_as_it_is_and_once_comes_before_always(scripted: Scripted) -> None:
    with scripted(careful) as console:
        console.create("run it")
        card = console.approvals.get_by_label("Approval", exact=True)
        expect(card.get_by_role("definition").first).to_have_text(
            "rm -rf build &&\n  ls -la\ufffdbuild", use_inner_text=True
        )
        expect(card).to_contain_text("if nobody decides")
        assert card.get_by_role("button").all_inner_texts() == ["Allow", "Reject", OPTIONS[0].name, "Never"]
        _, pending = console.log.get_by_label("Tool call").all()
        expect(pending).to_contain_text("needs you")
        expect(console.state).to_have_text("Needs you")
        expect(console.sessions.first).to_contain_text("Needs you")
        expect(console.page.locator("#working")).to_be_hidden()
        assert faults(console.page) == []

        console.page.keyboard.press("a")
        expect(card).to_be_focused()
        console.press("Reject")
        expect(console.log.locator(".decision")).to_have_text("Denied: May I? (Reject)")
        expect(pending).to_contain_text("denied")
        expect(console.state).to_have_text("Idle")
        expect(console.field("Message")).to_be_focused()


def test_an_edit_is_shown_as_a_diff_and_the_decision_stays_in_the_conversation(scripted: Scripted) -> None:
    with scripted(careful) as console:
        console.create("edit it")
        card = console.approvals.get_by_label("Approval", exact=True)
        diff = card.get_by_label("Changes of hello.py")
        expect(diff.locator(".removed")).to_have_text("\u2212print('hello')")
        expect(diff.locator(".added")).to_have_text("+print('hello', sys.argv[1])")
        card.get_by_text("Arguments").click()
        expect(card.get_by_role("definition").first).to_have_text("/data/hello.py")
        console.press("Allow")
        expect(console.approvals).to_be_hidden()

        console.page.reload()
        expect(console.log.locator(".decision")).to_have_text("Allowed: May I? (Allow)")
        failed, done = console.log.get_by_label("Tool call").all()
        expect(failed).to_contain_text("bash pytest -q failed")
        expect(done).to_contain_text("Write hello.py")
        expect(done).to_contain_text("done")
        done.locator("summary").click()
        expect(done.get_by_label("Changes of hello.py")).to_be_visible()


def test_an_edit_is_shown_as_a_diff_when_its_events_come_after_the_approval(scripted: Scripted) -> None:
    with scripted(careful) as console:
        console.create("edit it")
        expect(console.state).to_have_text("Needs you")
        streams: list[Route] = []
        console.page.route("**/events*", lambda route: streams.append(route))  # noqa: PLW0108 - no built-in is taken
        console.page.reload()
        expect(console.approvals).to_contain_text("May I?")
        diff = console.approvals.get_by_label("Changes of hello.py")
        expect(diff).to_have_count(0)
        streams.pop().continue_()
        expect(diff.locator(".removed")).to_have_text("\u2212print('hello')")


def test_an_approval_between_runs_is_decided(console: Console) -> None:
    console.create("delete notes.txt")
    expect(console.approvals).to_contain_text("Delete notes.txt?")
    expect(console.approvals.get_by_role("definition")).to_have_text("notes.txt")
    call = console.log.get_by_label("Tool call")
    expect(call).to_contain_text("delete_file notes.txt needs you")
    console.press("Deny")
    expect(console.approvals).to_be_hidden()
    assert '{"decision":"deny"}' in console.command
    expect(console.log.locator(".decision")).to_have_text("Denied: Delete notes.txt?")
    expect(call).to_contain_text("denied")
    expect(console.log).to_contain_text("The user denied it.")


def test_one_of_the_agents_options_is_chosen(console: Console) -> None:
    console.create("ask now")
    console.press("Yes, always")
    expect(console.log).to_contain_text("Thank you, I will continue. (always)")
    assert "option_id" in console.command
    expect(console.log.locator(".decision")).to_have_text("Allowed: May I continue? (Yes, always)")


def test_the_last_message_stays_in_view_when_an_approval_opens(console: Console) -> None:
    console.create("slow 30")
    expect(console.log).to_contain_text("tick 30 of 30")
    console.send("ask now")
    expect(console.button("Yes, once")).to_be_visible()
    expect(console.log.locator(".user").last).to_be_in_viewport(ratio=1)

    console.log.evaluate("log => log.scrollTo(0, 0)")
    console.press("Jump to the latest")
    expect(console.log.locator(".user").last).to_be_in_viewport(ratio=1)
    expect(console.button("Jump to the latest")).to_be_hidden()
