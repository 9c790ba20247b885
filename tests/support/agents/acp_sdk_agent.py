"""An agent made with the official ACP SDK: a test double for what the SDK's agent side puts on the wire.

Its sessions outlive the process, in the file .agent of the working directory, and it offers two models, named small
(the first choice) and large. A prompt selects what happens:

    work            a thought; the tool call "Edit notes.txt", which asks for permission, writes and reads the file
                    through the client; a command in a terminal; a plan; the session's cost; "Done"
    hang            "Waiting", and waits to be cancelled
    model           the session's model
    anything else   how often the session was prompted, and the prompt
"""

import asyncio
import json
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

STATE = Path(".agent")
OPTIONS = [
    schema.PermissionOption(option_id="yes", name="Yes", kind="allow_once"),
    schema.PermissionOption(option_id="no", name="No", kind="reject_once"),
]


class SdkAgent:
    def __init__(self) -> None:
        self.prompts: dict[str, int] = {}
        self.models: dict[str, str] = {}
        self.cancelled = asyncio.Event()
        self.client: Any = None

    def on_connect(self, conn: Any) -> None:
        self.client = conn

    async def initialize(self, protocol_version: int, **_: Any) -> schema.InitializeResponse:
        capabilities = schema.AgentCapabilities(load_session=True)
        return schema.InitializeResponse(protocol_version=protocol_version, agent_capabilities=capabilities)

    async def new_session(self, **_: Any) -> schema.NewSessionResponse:
        session_id = uuid4().hex
        return schema.NewSessionResponse(session_id=session_id, config_options=self.options(session_id))

    async def load_session(self, session_id: str, **_: Any) -> schema.LoadSessionResponse:
        self.prompts = json.loads(STATE.read_text())
        await self.say(session_id, "a message of before")
        return schema.LoadSessionResponse(config_options=self.options(session_id))

    async def set_config_option(self, session_id: str, value: str, **_: Any) -> schema.SetSessionConfigOptionResponse:
        self.models[session_id] = value
        return schema.SetSessionConfigOptionResponse(config_options=self.options(session_id))

    async def cancel(self, **_: Any) -> None:
        self.cancelled.set()

    async def prompt(self, session_id: str, prompt: list[Any], **_: Any) -> schema.PromptResponse:
        self.prompts[session_id] = self.prompts.get(session_id, 0) + 1
        STATE.write_text(json.dumps(self.prompts))
        self.cancelled.clear()
        reason: Any = "end_turn"
        match prompt[0].text:
            case "work":
                await self.work(session_id)
            case "hang":
                await self.say(session_id, "Waiting")
                await self.cancelled.wait()
                reason = "cancelled"
            case "model":
                await self.say(session_id, self.models[session_id])
            case text:
                await self.say(session_id, f"{self.prompts[session_id]}: {text}")
        usage = schema.Usage(total_tokens=7, input_tokens=3, output_tokens=4)
        return schema.PromptResponse(stop_reason=reason, usage=usage)

    async def work(self, session_id: str) -> None:
        await self.client.session_update(session_id, update_agent_thought_text("Let me see"))
        path = str(Path.cwd() / "notes.txt")
        call = start_tool_call("c1", "Edit notes.txt", kind="edit", status="pending", raw_input={"path": path})
        await self.client.session_update(session_id, call)
        about = schema.ToolCallUpdate(tool_call_id="c1")
        answer = await self.client.request_permission(session_id, about, OPTIONS)
        await self.client.write_text_file(session_id=session_id, path=path, content="written")
        read = await self.client.read_text_file(session_id, path)
        content = [tool_content(text_block(f"{answer.outcome.option_id}: {read.content}"))]
        await self.client.session_update(session_id, update_tool_call("c1", status="completed", content=content))
        call = start_tool_call("c2", "Run", kind="execute", status="in_progress", raw_input={"command": "cat"})
        await self.client.session_update(session_id, call)
        made = await self.client.create_terminal(session_id=session_id, command="cat notes.txt")
        await self.client.wait_for_terminal_exit(session_id=session_id, terminal_id=made.terminal_id)
        shown = schema.TerminalToolCallContent(type="terminal", terminal_id=made.terminal_id)
        await self.client.session_update(session_id, update_tool_call("c2", status="completed", content=[shown]))
        await self.client.release_terminal(session_id=session_id, terminal_id=made.terminal_id)
        entry = schema.PlanEntry(content="First", priority="high", status="completed")
        await self.client.session_update(session_id, schema.AgentPlanUpdate(session_update="plan", entries=[entry]))
        cost = schema.Cost(amount=0.25, currency="USD")
        usage = schema.UsageUpdate(session_update="usage_update", used=10, size=100, cost=cost)
        await self.client.session_update(session_id, usage)
        await self.say(session_id, "Done")

    async def say(self, session_id: str, text: str) -> None:
        await self.client.session_update(session_id, update_agent_message_text(text))

    def options(self, session_id: str) -> list[Any]:
        offered = [schema.SessionConfigSelectOption(value=f"maker/{name}", name=name) for name in ("small", "large")]
        current = self.models.setdefault(session_id, "maker/small")
        return [
            schema.SessionConfigOptionSelect(
                type="select", id="m", name="Model", category="model", current_value=current, options=offered
            )
        ]


asyncio.run(run_agent(SdkAgent()))  # type: ignore[arg-type]  # it has the methods that are called here, and no others
