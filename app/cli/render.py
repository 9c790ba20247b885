"""AG-UI events as text: what is said as it comes, tool calls in a line each, ends that are no success."""

from typing import Any

from app.cli.terminal import Screen

MAX_ARGS = 200
MAX_RESULT_LINES = 8

_SAID = frozenset({"TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CHUNK"})
_THOUGHT = frozenset({"REASONING_MESSAGE_CONTENT", "REASONING_MESSAGE_CHUNK", "THINKING_TEXT_MESSAGE_CONTENT"})
_ENDINGS = frozenset({"TEXT_MESSAGE_END", "REASONING_MESSAGE_END", "THINKING_TEXT_MESSAGE_END"})
_CALLED = frozenset({"TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_CHUNK"})


class Renderer:
    """Shows events one by one; any member of an event may be missing or of another type than it should be."""

    def __init__(self, screen: Screen, *, show_users: bool) -> None:
        """`show_users`: whether what users said is shown; whoever types it sees it already."""
        self._screen = screen
        self._show_users = show_users
        self._calls: dict[str, tuple[str, list[str]]] = {}
        self._part: tuple[str, str] | None = None
        self._said_something = False

    def show(self, event: dict[str, Any]) -> None:
        """Write what there is to see of the log's next event; unknown types are passed over."""
        kind = _text(event, "type")
        if kind in _SAID | _THOUGHT:
            self._speak("" if kind in _SAID else "dim italic", _text(event, "messageId"), _text(event, "delta"))
        elif kind in _ENDINGS:
            self._end_part()
        elif kind in _CALLED:
            self._collect(event)
        elif kind in {"TOOL_CALL_END", "TOOL_CALL_RESULT"}:
            self._show_call(event)
        elif kind == "RUN_STARTED":
            self._begin(event)
        elif kind == "TEXT_MESSAGE_START" and event.get("role") == "user":
            self._show_user(_text(event, "content"))
        elif kind == "MESSAGES_SNAPSHOT" and not self._said_something:
            self._show_snapshot(event)
        elif kind == "RUN_ERROR":
            self._end(f"The run failed: {_text(event, 'message')}", "red")
        elif kind == "RUN_FINISHED":
            self._finish(event)
        elif asked(event):
            self._end("The agent waits for an approval.", "yellow")

    def _begin(self, event: dict[str, Any]) -> None:
        self._calls.clear()
        self._said_something = False
        asked = [message for message in _messages(event.get("input")) if message.get("role") == "user"]
        if asked:
            self._show_user(_content(asked[-1]))

    def _show_user(self, text: str) -> None:
        if text and self._show_users:
            self._end_part()
            self._screen.line(f"> {text}", "bold")

    def _speak(self, style: str, message: str, delta: str) -> None:
        if self._part != (style, message):
            self._end_part()
            self._part = (style, message)
        self._said_something = self._said_something or bool(delta)
        self._screen.write(delta, style)

    def _end_part(self) -> None:
        self._part = None
        self._screen.finish_line()

    def _collect(self, event: dict[str, Any]) -> None:
        name, deltas = self._calls.get(_text(event, "toolCallId"), ("", []))
        deltas.append(_text(event, "delta"))
        self._calls[_text(event, "toolCallId")] = (name or _text(event, "toolCallName"), deltas)

    def _show_call(self, event: dict[str, Any]) -> None:
        self._said_something = True
        self._end_part()
        if called := self._calls.pop(_text(event, "toolCallId"), None):
            name, deltas = called
            self._screen.line(f"→ {name or 'a tool'} {_shortened(''.join(deltas))}".rstrip(), "cyan")
        if event.get("type") == "TOOL_CALL_RESULT":
            lines = _content(event).splitlines()
            for line in lines[:MAX_RESULT_LINES]:
                self._screen.line(f"  {_shortened(line)}", "dim")
            if len(lines) > MAX_RESULT_LINES:
                self._screen.line(f"  … and {len(lines) - MAX_RESULT_LINES} lines more", "dim")

    def _show_snapshot(self, event: dict[str, Any]) -> None:
        """A run whose deltas are not kept: what it said stands behind what its user said last."""
        answers: list[str] = []
        for message in _messages(event):
            if message.get("role") == "user":
                answers.clear()
            elif message.get("role") == "assistant":
                answers.append(_content(message))
        for answer in filter(None, answers):
            self._said_something = True
            self._screen.line(answer)

    def _finish(self, event: dict[str, Any]) -> None:
        outcome, result = event.get("outcome"), event.get("result")
        ending = outcome.get("type") if isinstance(outcome, dict) else outcome
        if isinstance(result, dict) and result.get("is_error"):
            self._end("The run failed.", "red")
        elif ending == "cancelled":
            self._end("Interrupted.", "yellow")
        elif ending == "interrupt":
            self._end("The agent waits for an approval.", "yellow")
        else:
            self._end_part()

    def _end(self, text: str, style: str) -> None:
        self._end_part()
        self._screen.note(text, style)


def asked(event: dict[str, Any]) -> str:
    """The id of the approval that an event tells of, where the agent asks within its run; else nothing."""
    asks = event.get("type") == "CUSTOM" and event.get("name") == "approval.requested"
    value = event.get("value")
    return _text(value, "id") if asks and isinstance(value, dict) else ""


def _messages(holder: Any) -> list[dict[str, Any]]:
    messages = holder.get("messages") if isinstance(holder, dict) else None
    return [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []


def _content(message: dict[str, Any]) -> str:
    """A content is a string or a list of parts, of which some are text."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return _text(message, "content") or "".join(_text(part, "text") for part in parts if isinstance(part, dict))


def _text(event: dict[str, Any], name: str) -> str:
    value = event.get(name)
    return value if isinstance(value, str) else ""


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_ARGS else f"{text[:MAX_ARGS]}…"
