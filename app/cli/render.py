"""AG-UI events as text: messages as they grow, one line per tool call, and how a run ended unless it completed."""

from typing import Any

from app.cli.terminal import Screen

MAX_ARGS = 200
MAX_RESULT_LINES = 8

_TEXT = frozenset({"TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CHUNK"})
_REASONING = frozenset({"REASONING_MESSAGE_CONTENT", "REASONING_MESSAGE_CHUNK", "THINKING_TEXT_MESSAGE_CONTENT"})
_MESSAGE_ENDS = frozenset({"TEXT_MESSAGE_END", "REASONING_MESSAGE_END", "THINKING_TEXT_MESSAGE_END"})
_TOOL_CALL_PARTS = frozenset({"TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_CHUNK"})


class Renderer:
    """Writes events to a screen, one by one. Any member of an event may be missing or have an unexpected type."""

    def __init__(self, screen: Screen, *, show_users: bool) -> None:
        """`show_users` shows users' messages too. The person who types them has already seen them."""
        self._screen = screen
        self._show_users = show_users
        self._calls: dict[str, tuple[str, list[str]]] = {}
        self._message: tuple[str, str] | None = None
        self._has_output = False

    def show(self, event: dict[str, Any]) -> None:
        """Write the log's next event; events of unknown types are skipped."""
        kind = _text(event, "type")
        if kind in _TEXT | _REASONING:
            style = "" if kind in _TEXT else "dim italic"
            self._show_delta(style, _text(event, "messageId"), _text(event, "delta"))
        elif kind in _MESSAGE_ENDS:
            self._end_message()
        elif kind in _TOOL_CALL_PARTS:
            self._collect_call(event)
        elif kind in {"TOOL_CALL_END", "TOOL_CALL_RESULT"}:
            self._show_call(event)
        elif kind == "RUN_STARTED":
            self._start_run(event)
        elif kind == "TEXT_MESSAGE_START" and event.get("role") == "user":
            self._show_user(_text(event, "content"))
        elif kind == "MESSAGES_SNAPSHOT" and not self._has_output:
            self._show_snapshot(event)
        elif kind == "RUN_ERROR":
            self._note(f"The run failed: {_text(event, 'message')}", "red")
        elif kind == "RUN_FINISHED":
            self._finish_run(event)
        elif requested_approval(event):
            self._note("The agent is waiting for an approval.", "yellow")

    def _start_run(self, event: dict[str, Any]) -> None:
        self._calls.clear()
        self._has_output = False
        user_messages = [message for message in _messages(event.get("input")) if message.get("role") == "user"]
        if user_messages:
            self._show_user(_content(user_messages[-1]))

    def _show_user(self, text: str) -> None:
        if text and self._show_users:
            self._end_message()
            self._screen.line(f"> {text}", "bold")

    def _show_delta(self, style: str, message_id: str, delta: str) -> None:
        if self._message != (style, message_id):
            self._end_message()
            self._message = (style, message_id)
        self._has_output = self._has_output or bool(delta)
        self._screen.write(delta, style)

    def _end_message(self) -> None:
        self._message = None
        self._screen.finish_line()

    def _collect_call(self, event: dict[str, Any]) -> None:
        name, deltas = self._calls.get(_text(event, "toolCallId"), ("", []))
        deltas.append(_text(event, "delta"))
        self._calls[_text(event, "toolCallId")] = (name or _text(event, "toolCallName"), deltas)

    def _show_call(self, event: dict[str, Any]) -> None:
        self._has_output = True
        self._end_message()
        if call := self._calls.pop(_text(event, "toolCallId"), None):
            name, deltas = call
            self._screen.line(f"→ {name or 'a tool'} {_shorten(''.join(deltas))}".rstrip(), "cyan")
        if event.get("type") == "TOOL_CALL_RESULT":
            lines = _content(event).splitlines()
            for line in lines[:MAX_RESULT_LINES]:
                self._screen.line(f"  {_shorten(line)}", "dim")
            if len(lines) > MAX_RESULT_LINES:
                self._screen.line(f"  … and {len(lines) - MAX_RESULT_LINES} more lines", "dim")

    def _show_snapshot(self, event: dict[str, Any]) -> None:
        """Show what the assistant wrote after the last user message, for a run whose deltas were not stored."""
        texts: list[str] = []
        for message in _messages(event):
            if message.get("role") == "user":
                texts.clear()
            elif message.get("role") == "assistant":
                texts.append(_content(message))
        for text in filter(None, texts):
            self._has_output = True
            self._screen.line(text)

    def _finish_run(self, event: dict[str, Any]) -> None:
        outcome, result = event.get("outcome"), event.get("result")
        kind = outcome.get("type") if isinstance(outcome, dict) else outcome
        if isinstance(result, dict) and result.get("is_error"):
            self._note("The run failed.", "red")
        elif kind == "cancelled":
            self._note("Interrupted.", "yellow")
        elif kind == "interrupt":
            self._note("The agent is waiting for an approval.", "yellow")
        else:
            self._end_message()

    def _note(self, text: str, style: str) -> None:
        self._end_message()
        self._screen.note(text, style)


def requested_approval(event: dict[str, Any]) -> str:
    """Return the id of the approval that the event requests during its run, or an empty string."""
    value = event.get("value")
    is_request = event.get("type") == "CUSTOM" and event.get("name") == "approval.requested"
    return _text(value, "id") if is_request and isinstance(value, dict) else ""


def _messages(holder: Any) -> list[dict[str, Any]]:
    messages = holder.get("messages") if isinstance(holder, dict) else None
    return [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []


def _content(message: dict[str, Any]) -> str:
    """Return the text of a message, whose content is a string or a list of parts."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return _text(message, "content") or "".join(_text(part, "text") for part in parts if isinstance(part, dict))


def _text(event: dict[str, Any], name: str) -> str:
    value = event.get(name)
    return value if isinstance(value, str) else ""


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_ARGS else f"{text[:MAX_ARGS]}…"
