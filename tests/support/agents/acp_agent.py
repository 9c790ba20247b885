"""An agent that speaks ACP, made with the official SDK: does on request what real agents do, and what bad ones do."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

from acp import (
    run_agent,
    schema,
    start_tool_call,
    text_block,
    tool_content,
    update_agent_message_text,
    update_agent_thought_text,
    update_tool_call,
)


class ScriptedAgent:
    """Each session remembers how often it was prompted."""

    def __init__(self) -> None:
        self.prompts: dict[str, int] = {}
        self.stop = asyncio.Event()
        self.client: Any = None

    def on_connect(self, conn: Any) -> None:
        self.client = conn

    async def initialize(self, protocol_version: int, **_: Any) -> schema.InitializeResponse:
        return schema.InitializeResponse(protocol_version=protocol_version)

    async def new_session(self, cwd: str, **_: Any) -> schema.NewSessionResponse:
        assert cwd == str(Path.cwd())
        return schema.NewSessionResponse(session_id=uuid4().hex)

    async def cancel(self, session_id: str, **_: Any) -> None:
        del session_id
        self.stop.set()

    async def prompt(self, session_id: str, prompt: list[Any], **_: Any) -> schema.PromptResponse:
        self.prompts[session_id] = self.prompts.get(session_id, 0) + 1
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

    async def do_env(self, session_id: str, rest: str) -> None:
        sys.stderr.write("looking at the environment\n")
        await self.say(session_id, os.environ.get(rest, "unset"))


asyncio.run(run_agent(ScriptedAgent()))  # type: ignore[arg-type]  # it has what is asked for and no more
