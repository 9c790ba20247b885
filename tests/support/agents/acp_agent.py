"""A scripted agent that speaks the Agent Client Protocol: a test double, with the standard library only.

`python -I -S acp_agent.py [flags]` starts in 30 ms, a tenth of what the official SDK takes to import. It reads JSON-RPC
messages from standard input, one to a line, and writes its own to standard output. Each session counts its prompts.

The first word of a prompt selects what happens; TEXT is sent in chunks, divided at each "|":

    think TEXT          a thought, then TEXT
    tool [STATUS]       the tool call "Read file" from pending over in_progress to STATUS (completed), then "Done"
    plan                a plan with one entry, and a usage update
    careful [N]         its process id; the tool call "Edit notes.txt" with all details; N (1) requests for permission
                        with the id of that call alone; the option that was chosen last
    show                a request for permission with a diff and only one option, to allow it; the option chosen
    model               the session's model
    mode                the session's mode
    become MODEL MODE   the agent changes its model and its mode by itself
    spend DOLLARS       a usage update that says DOLLARS as the cost of the whole session so far
    read PATH           the file, read through the client, or "refused: " and the reason
    write PATH TEXT     TEXT is written through the client; then "written"
    run COMMAND         COMMAND in a terminal of the client, shown by the tool call "Run"
    leave [hanging]     a terminal is left running, its process id sent; with `hanging`, waits to be cancelled
    flood N             N chunks, until it is cancelled
    overflow N          one chunk of N characters
    babble              1,000 lines that are not JSON, then "Sorry"
    hang                "Waiting", and waits to be cancelled
    deaf                its process id and that of a child; ignores cancellation, SIGTERM, SIGINT and its end of input
    die                 "Farewell", then exits within the turn
    orphan [apart]      its process id, then exits within the turn, while a child (with `apart` in a session of its own)
                        holds its output
    widow               the same, 0.1 s after the turn
    late SECONDS TEXT   "On time", and TEXT so long after the response
    later SECONDS LINES "On time", and LINES as by `wire` so long after the response
    wire LINES          LINES as they are, one for each part between "¦", with the session's id for $S
    ask OPTION          a request for permission, its one option and its call as JSON; the option chosen
    tell [UPDATE, ASK]  the first as a session update, then the second as `ask`
    stop REASON         "Bye", and REASON as JSON for the stop reason
    child               a request for permission in another session; the option chosen
    refuse              the error "No credit", with details, as the response
    quit                its process id; exits 0.1 s after the turn
    blocks              the whole prompt as JSON
    env NAME            the environment variable's value or "unset"; a line on standard error
    anything else       how often the session was prompted, and the whole prompt

Flags:

    --images            takes images in prompts
    --load, --resume    sessions outlive the process, in the file .agent of the working directory: `session/load`, which
                        repeats an earlier message, or `session/resume` goes on with them
    --fail              … but it does not know the session
    --hang              … but it never responds
    --die               … but it exits
    --no-resume         … but `session/resume` alone does not know the session
    --lost              … but no prompt knows a session of an earlier process
    --noise             writes the title of a terminal before its first message, on the same line
    --string-ids        responds with ids that are texts
    --banner            sends its commands and "Welcome" as soon as it has made a session
    --broken            writes an error and exits
    --models            offers two models, named small (the first choice) and large, as a configuration option
    --old-models        … as `models`, to be set by `session/set_model`
    --modes             offers the modes ask (the first choice) and plan
    --auth METHODS      makes no session before `authenticate`; offers METHODS, as JSON; refuses the method "bad"
    --future            speaks version 99 of the protocol
"""

import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

Json = dict[str, Any]

STATE = Path(".agent")
ALLOW_ALWAYS = {"optionId": "ever", "name": "Always", "kind": "allow_always"}
ALLOW_ONCE = {"optionId": "yes", "name": "Yes", "kind": "allow_once"}
REJECT_ONCE = {"optionId": "no", "name": "No", "kind": "reject_once"}


class RpcError(Exception):
    """The error of a response, either way."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


class Client:
    """The other side: a thread reads what it sends, so that a turn can wait for its responses."""

    def __init__(self) -> None:
        self.requests: queue.SimpleQueue[Json] = queue.SimpleQueue()
        self.cancelled = threading.Event()
        self._responses: queue.SimpleQueue[Json] = queue.SimpleQueue()
        self._ids = itertools.count()

    def read(self) -> None:
        for line in sys.stdin.buffer:
            message = json.loads(line)
            if "method" not in message:
                self._responses.put(message)
            elif message["method"] == "session/cancel":
                self.cancelled.set()
            else:
                if message["method"] == "session/prompt":
                    self.cancelled.clear()
                self.requests.put(message)
        os.kill(os.getpid(), signal.SIGTERM)

    def request(self, method: str, **params: Any) -> Json:
        self.send(id=next(self._ids), method=method, params=params)
        response = self._responses.get()
        if error := response.get("error"):
            raise RpcError(error["code"], error["message"], error.get("data"))
        result: Json = response["result"]
        return result

    def send(self, **message: Any) -> None:
        if "--string-ids" in sys.argv and "method" not in message:
            message["id"] = str(message["id"])
        self.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def write(self, content: bytes) -> None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


class Agent:
    """The methods of the protocol, named as there with "_" for "/"; one that returns None does not respond."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.prompts: dict[str, int] = {}
        self.models: dict[str, str] = {}
        self.modes: dict[str, str] = {}
        self.signed_in = ""
        self.own: set[str] = set()

    def serve(self) -> None:
        while True:
            request = self.client.requests.get()
            try:
                result = getattr(self, request["method"].replace("/", "_"))(request["params"])
            except RpcError as error:
                refusal = {"code": error.code, "message": str(error), "data": error.data}
                self.client.send(id=request["id"], error=refusal)
            else:
                if result is not None:
                    self.client.send(id=request["id"], result=result)
                if request["method"] == "session/new" and "--banner" in sys.argv:
                    turn = Turn(self, result["sessionId"])
                    turn.update("available_commands_update", availableCommands=[])
                    turn.say("Welcome")

    def initialize(self, params: Json) -> Json:
        return {
            "authMethods": json.loads(sys.argv[sys.argv.index("--auth") + 1]) if "--auth" in sys.argv else [],
            "protocolVersion": 99 if "--future" in sys.argv else params["protocolVersion"],
            "agentCapabilities": {
                "loadSession": "--load" in sys.argv,
                "promptCapabilities": {"image": "--images" in sys.argv},
                "sessionCapabilities": {"resume": {}} if "--resume" in sys.argv else {},
            },
        }

    def authenticate(self, params: Json) -> Json:
        if params["methodId"] == "bad":
            raise RpcError(-32000, "Bad key")
        self.signed_in = params["methodId"]
        return {}

    def session_new(self, params: Json) -> Json:
        if "--auth" in sys.argv and not self.signed_in:
            raise RpcError(-32000, "Authentication required")
        assert params["cwd"] == str(Path.cwd())
        session_id = os.urandom(16).hex()
        self.own.add(session_id)
        return {"sessionId": session_id, **self.options(session_id)}

    def session_load(self, params: Json) -> Json | None:
        resumed = self.session_resume(params, loads=True)
        if resumed is not None:
            Turn(self, params["sessionId"]).say("all that was said before")
        return resumed

    def session_resume(self, params: Json, *, loads: bool = False) -> Json | None:
        if "--no-resume" in sys.argv and not loads:
            raise RpcError(-32603, "Internal error", {"details": "Session not found"})
        if "--die" in sys.argv:
            os._exit(3)
        if "--hang" in sys.argv:
            return None
        if "--fail" in sys.argv:
            raise RpcError(-32002, "Resource not found", {"uri": params["sessionId"]})
        self.prompts = json.loads(STATE.read_text())
        return self.options(params["sessionId"])

    def session_set_config_option(self, params: Json) -> Json:
        assert params["configId"] == "m"
        if not params["value"].startswith("maker/"):
            raise RpcError(-32602, "Invalid params")
        self.models[params["sessionId"]] = params["value"]
        return self.options(params["sessionId"])

    def session_set_model(self, params: Json) -> Json:
        self.models[params["sessionId"]] = params["modelId"]
        return {}

    def session_set_mode(self, params: Json) -> Json:
        if params["modeId"] == "broken":
            raise RpcError(-32602, "No such mode")
        self.modes[params["sessionId"]] = params["modeId"]
        return {}

    def session_prompt(self, params: Json) -> Json:
        session_id, text = params["sessionId"], params["prompt"][0]["text"]
        if "--lost" in sys.argv and session_id not in self.own:
            raise RpcError(-32603, "Internal error", {"details": "Unsupported ACP session"})
        self.prompts[session_id] = self.prompts.get(session_id, 0) + 1
        STATE.write_text(json.dumps(self.prompts))
        turn = Turn(self, session_id, params["prompt"])
        word, _, argument = text.partition(" ")
        reason: Any = None
        if action := getattr(turn, f"do_{word}", None):
            reason = action(argument)
        else:
            turn.say(f"{self.prompts[session_id]}: {text}")
        usage = {"totalTokens": 7, "inputTokens": 3, "outputTokens": 4}
        return {"stopReason": reason or "end_turn", "usage": usage}

    def options(self, session_id: str) -> Json:
        found: Json = {}
        if "--modes" in sys.argv:
            modes = [{"id": name, "name": name.title()} for name in ("ask", "plan", "broken")]
            found["modes"] = {"currentModeId": self.modes.setdefault(session_id, "ask"), "availableModes": modes}
        if "--old-models" in sys.argv:
            models = [{"modelId": f"maker/{name}", "name": name} for name in ("small", "large")]
            current = self.models.setdefault(session_id, "maker/small")
            found["models"] = {"currentModelId": current, "availableModels": models}
        if "--models" in sys.argv:
            found["configOptions"] = self.config_options(session_id)
        return found

    def config_options(self, session_id: str) -> list[Json]:
        offered = [{"value": f"maker/{name}", "name": name} for name in ("small", "large")]
        model = {"type": "select", "id": "m", "name": "Model", "category": "model"}
        model["currentValue"] = self.models.setdefault(session_id, "maker/small")
        return [{**model, "options": [{"group": "maker", "name": "Maker", "options": offered}]}]


class Turn:
    """One prompt, and the actions that it can select; an action returns the stop reason, by default `end_turn`."""

    def __init__(self, agent: Agent, session_id: str, prompt: list[Json] | None = None) -> None:
        self.agent = agent
        self.prompt = prompt
        self.client = agent.client
        self.session_id = session_id

    def update(self, session_update: str, **fields: Any) -> None:
        params = {"sessionId": self.session_id, "update": {"sessionUpdate": session_update, **fields}}
        self.client.send(method="session/update", params=params)

    def say(self, text: str) -> None:
        for part in text.split("|"):
            self.update("agent_message_chunk", content=text_block(part))

    def request(self, method: str, **params: Any) -> Json:
        return self.client.request(method, sessionId=self.session_id, **params)

    def request_permission(self, call: Json, *options: Json) -> str:
        outcome = self.request("session/request_permission", toolCall=call, options=options)["outcome"]
        return str(outcome.get("optionId", "cancelled"))

    def do_think(self, text: str) -> None:
        self.update("agent_thought_chunk", content=text_block("Let me see"))
        self.say(text)

    def do_blocks(self, _text: str) -> None:
        self.update("agent_message_chunk", content=text_block(json.dumps(self.prompt)))

    def do_tool(self, status: str) -> None:
        self.update("tool_call", toolCallId="c1", title="Read file", kind="read", status="pending")
        self.update("tool_call_update", toolCallId="c1", status="in_progress", rawInput={"path": "a"})
        content = [{"type": "content", "content": text_block("the text")}]
        self.update("tool_call_update", toolCallId="c1", status=status or "completed", content=content)
        self.say("Done")

    def do_plan(self, _: str) -> None:
        self.update("plan", entries=[{"content": "First", "priority": "high", "status": "pending"}])
        self.update("usage_update", used=10, size=100)

    def do_careful(self, count: str) -> None:
        self.say(str(os.getpid()))
        call = {"toolCallId": "c3", "title": "Edit notes.txt", "kind": "edit", "rawInput": {"path": "notes.txt"}}
        self.update("tool_call", **call, status="pending")
        content = [{"type": "content", "content": text_block("soon")}]
        self.update("tool_call_update", toolCallId="c3", status="in_progress", content=content)
        chosen = ""
        for _ in range(int(count or 1)):
            chosen = self.request_permission({"toolCallId": "c3"}, ALLOW_ALWAYS, ALLOW_ONCE, REJECT_ONCE)
        self.say(f" {chosen}")

    def do_show(self, _: str) -> None:
        diff = {"type": "diff", "path": "/a", "newText": "new"}
        self.say(self.request_permission({"toolCallId": "c4", "content": [diff]}, ALLOW_ONCE))

    def do_model(self, _: str) -> None:
        self.say(self.agent.models[self.session_id])

    def do_mode(self, _: str) -> None:
        self.say(self.agent.modes[self.session_id])

    def do_become(self, argument: str) -> None:
        model, mode = argument.split()
        self.agent.models[self.session_id], self.agent.modes[self.session_id] = model, mode
        self.update("current_mode_update", currentModeId=mode)
        self.update("config_option_update", configOptions=self.agent.config_options(self.session_id))
        self.say("Changed")

    def do_spend(self, dollars: str) -> None:
        self.update("usage_update", used=10, size=100, cost={"amount": float(dollars), "currency": "USD"})

    def do_read(self, path: str) -> None:
        try:
            self.say(self.request("fs/read_text_file", path=path)["content"])
        except RpcError as error:
            self.say(f"refused: {error}")

    def do_write(self, argument: str) -> None:
        path, _, content = argument.partition(" ")
        self.request("fs/write_text_file", path=path, content=content)
        self.say("written")

    def do_run(self, command: str) -> None:
        self.update("tool_call", toolCallId="c5", title="Run", kind="execute", status="in_progress")
        terminal = self.request("terminal/create", command=command)["terminalId"]
        self.request("terminal/wait_for_exit", terminalId=terminal)
        shown = [{"type": "terminal", "terminalId": terminal}]
        self.update("tool_call_update", toolCallId="c5", status="completed", content=shown)
        self.request("terminal/release", terminalId=terminal)

    def do_leave(self, how: str) -> str | None:
        terminal = self.request("terminal/create", command="echo $$; exec sleep 600")["terminalId"]
        while not (output := self.request("terminal/output", terminalId=terminal)["output"]):
            threading.Event().wait(0.01)
        self.say(output)
        return self.wait_for_cancellation() if how == "hanging" else None

    def do_flood(self, count: str) -> None:
        for number in range(int(count)):
            if self.client.cancelled.is_set():
                break
            self.say(f"{number} ")

    def do_overflow(self, size: str) -> None:
        self.say("x" * int(size))

    def do_babble(self, _: str) -> None:
        self.client.write(b"a line for people\n" * 1000)
        self.say("Sorry")

    def do_hang(self, _: str) -> str:
        self.say("Waiting")
        return self.wait_for_cancellation()

    def do_deaf(self, _: str) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        child = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "600")  # noqa: S606 - our own command
        self.say(f"{os.getpid()} {child}")
        threading.Event().wait()

    def do_die(self, _: str) -> None:
        self.say("Farewell")
        os._exit(3)

    def do_orphan(self, how: str) -> None:
        self.say(str(os.getpid()))
        self.leave_child(apart=how == "apart")
        os._exit(3)

    def do_widow(self, _: str) -> None:
        self.say(str(os.getpid()))
        self.leave_child(apart=False)
        threading.Timer(0.1, os._exit, (3,)).start()

    def leave_child(self, *, apart: bool) -> None:
        subprocess.Popen(["/bin/sleep", "15"], stdin=subprocess.DEVNULL, start_new_session=apart)

    def do_late(self, argument: str) -> None:
        self.say("On time")
        seconds, _, text = argument.partition(" ")
        threading.Timer(float(seconds), self.say, (text,)).start()

    def do_later(self, argument: str) -> None:
        self.say("On time")
        seconds, _, lines = argument.partition(" ")
        threading.Timer(float(seconds), self.do_wire, (lines,)).start()

    def do_wire(self, lines: str) -> None:
        for line in lines.replace("$S", self.session_id).split("¦"):
            self.client.write(line.encode() + b"\n")

    def do_ask(self, params: str) -> None:
        self.say(str(self.request("session/request_permission", **json.loads(params))["outcome"]))

    def do_tell(self, messages: str) -> None:
        told, asked = json.loads(messages)
        self.client.send(method="session/update", params={"sessionId": self.session_id, "update": told})
        self.do_ask(json.dumps(asked))

    def do_stop(self, reason: str) -> Any:
        self.say("Bye")
        return json.loads(reason)

    def do_child(self, _: str) -> None:
        call = {"toolCallId": "c9", "title": "Of a child"}
        params = {"sessionId": "another", "toolCall": call, "options": [ALLOW_ONCE]}
        self.say(str(self.client.request("session/request_permission", **params)["outcome"].get("optionId", "none")))

    def do_refuse(self, _: str) -> None:
        raise RpcError(-32000, "No credit", {"balance": "0 dollars"})

    def do_quit(self, _: str) -> None:
        self.say(str(os.getpid()))
        threading.Timer(0.1, os._exit, (0,)).start()

    def do_env(self, name: str) -> None:
        sys.stderr.write("looking at the environment\n")
        self.say(os.environ.get(name, "unset"))

    def wait_for_cancellation(self) -> str:
        self.client.cancelled.wait()
        return "cancelled"


def text_block(text: str) -> Json:
    return {"type": "text", "text": text}


def main() -> None:
    if "--broken" in sys.argv:
        sys.exit("Error: node 22 is required, found 18")
    client = Client()
    if "--noise" in sys.argv:
        client.write(b"\x1b]0;a terminal\x07")
    threading.Thread(target=client.read, daemon=True).start()
    Agent(client).serve()


main()
