"""An agent that speaks ACP, made with the official SDK: does on request what real agents do, and what bad ones do.

With `--load` or `--resume` it takes up its sessions, which it keeps in its workspace, again that way; `--fail`,
`--hang` or `--die` besides says how it does not. With `--models` it offers a choice of models.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

from acp import (
    RequestError,
    run_agent,
    schema,
    start_tool_call,
    text_block,
    tool_content,
    update_agent_message_text,
    update_agent_thought_text,
    update_tool_call,
)

KEPT = Path(".agent")


def kept() -> dict[str, int]:
    prompts: dict[str, int] = json.loads(KEPT.read_text())
    return prompts


def keep(prompts: dict[str, int]) -> None:
    KEPT.write_text(json.dumps(prompts))


class ScriptedAgent:
    """Each session remembers how often it was prompted."""

    def __init__(self) -> None:
        self.prompts: dict[str, int] = {}
        self.models: dict[str, str] = {}
        self.stop = asyncio.Event()
        self.client: Any = None

    def on_connect(self, conn: Any) -> None:
        self.client = conn

    async def initialize(self, protocol_version: int, **_: Any) -> schema.InitializeResponse:
        resume = schema.SessionResumeCapabilities() if "--resume" in sys.argv else None
        can = schema.AgentCapabilities(
            load_session="--load" in sys.argv, session_capabilities=schema.SessionCapabilities(resume=resume)
        )
        version = 99 if "--future" in sys.argv else protocol_version
        return schema.InitializeResponse(protocol_version=version, agent_capabilities=can)

    async def new_session(self, cwd: str, **_: Any) -> schema.NewSessionResponse:
        assert cwd == str(Path.cwd())
        session_id = uuid4().hex
        return schema.NewSessionResponse(session_id=session_id, config_options=self.options(session_id))

    async def load_session(self, session_id: str, **_: Any) -> schema.LoadSessionResponse:
        await self.take_up(session_id)
        await self.say(session_id, "all that was said before")
        return schema.LoadSessionResponse(config_options=self.options(session_id))

    async def resume_session(self, session_id: str, **_: Any) -> schema.ResumeSessionResponse:
        await self.take_up(session_id)
        return schema.ResumeSessionResponse(config_options=self.options(session_id))

    async def take_up(self, session_id: str) -> None:
        """Know again what was said, or fail of it."""
        if "--die" in sys.argv:
            os._exit(3)
        if "--hang" in sys.argv:
            await asyncio.Event().wait()
        if "--fail" in sys.argv:
            raise RequestError.resource_not_found(session_id)
        self.prompts = kept()

    def options(self, session_id: str) -> list[Any] | None:
        if "--models" not in sys.argv:
            return None
        offered = [schema.SessionConfigSelectOption(value=f"maker/{name}", name=name) for name in ("small", "large")]
        group = schema.SessionConfigSelectGroup(group="maker", name="Maker", options=offered)
        current = self.models.setdefault(session_id, "maker/small")
        return [
            schema.SessionConfigOptionSelect(
                type="select", id="m", name="Model", category="model", current_value=current, options=[group]
            )
        ]

    async def set_config_option(
        self, config_id: str, session_id: str, value: str | bool, **_: Any
    ) -> schema.SetSessionConfigOptionResponse:
        assert config_id == "m"
        if not str(value).startswith("maker/"):
            raise RequestError.invalid_params()
        self.models[session_id] = str(value)
        return schema.SetSessionConfigOptionResponse(config_options=self.options(session_id) or [])

    async def cancel(self, session_id: str, **_: Any) -> None:
        del session_id
        self.stop.set()

    async def prompt(self, session_id: str, prompt: list[Any], **_: Any) -> schema.PromptResponse:
        self.prompts[session_id] = self.prompts.get(session_id, 0) + 1
        keep(self.prompts)
        self.stop.clear()
        text = prompt[0].text
        word, _, rest = text.partition(" ")
        if action := getattr(self, f"do_{word}", None):
            reason = await action(session_id, rest)
        else:
            reason = None
            await self.say(session_id, f"{self.prompts[session_id]}: {text}")
        used = schema.Usage(total_tokens=7, input_tokens=3, output_tokens=4)
        return schema.PromptResponse(stop_reason=reason or "end_turn", usage=used)

    async def say(self, session_id: str, text: str) -> None:
        for part in text.split("|"):
            await self.client.session_update(session_id, update_agent_message_text(part))

    async def do_think(self, session_id: str, rest: str) -> None:
        await self.client.session_update(session_id, update_agent_thought_text("Let me see"))
        await self.say(session_id, rest)

    async def do_tool(self, session_id: str, rest: str) -> None:
        status: Any = rest or "completed"
        await self.client.session_update(session_id, start_tool_call("c1", "Read file", kind="read", status="pending"))
        await self.client.session_update(
            session_id, update_tool_call("c1", status="in_progress", raw_input={"path": "a"})
        )
        content = [tool_content(text_block("the text"))]
        await self.client.session_update(session_id, update_tool_call("c1", status=status, content=content))
        await self.say(session_id, "Done")

    async def do_plan(self, session_id: str, _rest: str) -> None:
        entry = schema.PlanEntry(content="First", priority="high", status="pending")
        await self.client.session_update(session_id, schema.AgentPlanUpdate(session_update="plan", entries=[entry]))
        usage = schema.UsageUpdate(session_update="usage_update", used=10, size=100)
        await self.client.session_update(session_id, usage)

    async def do_permit(self, session_id: str, _rest: str) -> None:
        options = [
            schema.PermissionOption(option_id="yes", name="Yes", kind="allow_once"),
            schema.PermissionOption(option_id="no", name="No", kind="reject_once"),
        ]
        call = schema.ToolCallUpdate(tool_call_id="c2", title="Delete", raw_input={"path": "a"})
        answer = await self.client.request_permission(session_id, call, options)
        await self.say(session_id, str(getattr(answer.outcome, "option_id", "cancelled")))

    async def do_careful(self, session_id: str, rest: str) -> None:
        """Announce a tool call with all its details, then ask with no more than its id, so many times."""
        await self.say(session_id, str(os.getpid()))
        call = start_tool_call("c3", "Edit notes.txt", kind="edit", status="pending", raw_input={"path": "notes.txt"})
        await self.client.session_update(session_id, call)
        content = [tool_content(text_block("soon"))]
        await self.client.session_update(session_id, update_tool_call("c3", status="in_progress", content=content))
        options = [
            schema.PermissionOption(option_id="ever", name="Always", kind="allow_always"),
            schema.PermissionOption(option_id="yes", name="Yes", kind="allow_once"),
            schema.PermissionOption(option_id="no", name="No", kind="reject_once"),
        ]
        about = schema.ToolCallUpdate(tool_call_id="c3")
        for _ in range(int(rest or 1)):
            answer = await self.client.request_permission(session_id, about, options)
        await self.say(session_id, f" {getattr(answer.outcome, 'option_id', 'cancelled')}")

    async def do_show(self, session_id: str, _rest: str) -> None:
        """Ask about a change that is shown, not told, and offer nothing but to allow it."""
        diff = schema.FileEditToolCallContent(type="diff", path="/a", new_text="new")
        options = [schema.PermissionOption(option_id="yes", name="Yes", kind="allow_once")]
        about = schema.ToolCallUpdate(tool_call_id="c4", content=[diff])
        answer = await self.client.request_permission(session_id, about, options)
        await self.say(session_id, str(getattr(answer.outcome, "option_id", "cancelled")))

    async def do_model(self, session_id: str, _rest: str) -> None:
        await self.say(session_id, self.models[session_id])

    async def do_spend(self, session_id: str, rest: str) -> None:
        """Say what the whole session has cost so far, in dollars."""
        cost = schema.Cost(amount=float(rest), currency="USD")
        usage = schema.UsageUpdate(session_update="usage_update", used=10, size=100, cost=cost)
        await self.client.session_update(session_id, usage)

    async def do_read(self, session_id: str, rest: str) -> None:
        """Read a file, or say why not, and which of the client's methods there are."""
        try:
            answer = await self.client.read_text_file(session_id, rest)
        except RequestError as refused:
            await self.say(session_id, f"refused: {refused}")
        else:
            await self.say(session_id, answer.content)

    async def do_write(self, session_id: str, rest: str) -> None:
        path, _, content = rest.partition(" ")
        await self.client.write_text_file(session_id=session_id, path=path, content=content)
        await self.say(session_id, "written")

    async def do_run(self, session_id: str, rest: str) -> None:
        """Show a command in a terminal as a tool call."""
        await self.client.session_update(session_id, start_tool_call("c5", "Run", kind="execute", status="in_progress"))
        made = await self.client.create_terminal(session_id=session_id, command=rest)
        await self.client.wait_for_terminal_exit(session_id=session_id, terminal_id=made.terminal_id)
        shown = schema.TerminalToolCallContent(type="terminal", terminal_id=made.terminal_id)
        await self.client.session_update(session_id, update_tool_call("c5", status="completed", content=[shown]))
        await self.client.release_terminal(session_id=session_id, terminal_id=made.terminal_id)

    async def do_leave(self, session_id: str, rest: str) -> str | None:
        """Leave a command running in a terminal, and hang until the turn is cancelled if asked to."""
        made = await self.client.create_terminal(session_id=session_id, command="echo $$; exec sleep 600")
        while not (seen := await self.client.terminal_output(session_id, made.terminal_id)).output:  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.01)
        await self.say(session_id, seen.output)
        if rest == "hanging":
            await self.stop.wait()
            return "cancelled"
        return None

    async def do_flood(self, session_id: str, rest: str) -> None:
        for number in range(int(rest)):
            if self.stop.is_set():
                break
            await self.say(session_id, f"{number} ")

    async def do_overflow(self, session_id: str, rest: str) -> None:
        await self.say(session_id, "x" * int(rest))

    async def do_babble(self, session_id: str, _rest: str) -> None:
        os.write(1, b"a line for people\n" * 1000)
        await self.say(session_id, "Sorry")

    async def do_hang(self, session_id: str, _rest: str) -> str:
        await self.say(session_id, "Waiting")
        await self.stop.wait()
        return "cancelled"

    async def do_deaf(self, session_id: str, _rest: str) -> None:
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])  # noqa: ASYNC220
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        await self.say(session_id, f"{os.getpid()} {child.pid}")
        await asyncio.Event().wait()

    async def do_die(self, session_id: str, _rest: str) -> None:
        await self.say(session_id, "Farewell")
        os._exit(3)

    async def do_refuse(self, _session_id: str, _rest: str) -> None:
        raise RequestError(-32000, "No credit", {"balance": "0 dollars"})

    async def do_quit(self, session_id: str, _rest: str) -> None:
        """Leave soon after the turn."""
        await self.say(session_id, str(os.getpid()))
        asyncio.get_running_loop().call_later(0.1, os._exit, 0)

    async def do_env(self, session_id: str, rest: str) -> None:
        sys.stderr.write("looking at the environment\n")
        await self.say(session_id, os.environ.get(rest, "unset"))


asyncio.run(run_agent(ScriptedAgent(), use_unstable_protocol=True))  # type: ignore[arg-type]  # it has what is asked for and no more
