"""The answer of a run: the text of its last assistant message."""

from typing import Any

import pytest

from app.agui.answer import MAX_BYTES, AnswerReader
from app.agui.events import decode
from tests.support.agui_samples import raw


def answer(*events: Any, at_once: bool = True) -> str | None:
    reader = AnswerReader()
    decoded = list(decode(events))
    for part in [decoded] if at_once else [[event] for event in decoded]:
        reader.feed(part)
    return reader.answer


def start(message_id: str = "m", **fields: Any) -> Any:
    return raw("TEXT_MESSAGE_START", messageId=message_id, **fields)


def delta(text: Any, message_id: str = "m") -> Any:
    return raw("TEXT_MESSAGE_CONTENT", messageId=message_id, delta=text)


def chunk(**fields: Any) -> Any:
    return raw("TEXT_MESSAGE_CHUNK", **fields)


def snapshot(*messages: Any) -> Any:
    return raw("MESSAGES_SNAPSHOT", messages=[{"role": role, "content": content} for role, content in messages])


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], None),
        ([start(role="assistant"), delta("a"), delta("b")], "ab"),
        ([delta("a"), delta("b")], "ab"),
        ([start("1"), delta("one", "1"), start("2"), delta("two", "2")], "two"),
        ([start("1"), delta("one", "1"), start("1"), delta("two", "1")], "two"),
        ([start("1"), delta("one", "1"), start("2"), raw("TEXT_MESSAGE_END", messageId="2")], "one"),
        ([start("1"), delta("one", "1"), start("2", role="user"), delta("two", "2")], "one"),
        ([chunk(messageId="1", role="assistant", delta="a"), chunk(delta="b"), raw("RUN_FINISHED")], "ab"),
        ([start(), delta(7), delta(None), delta("a")], "a"),
        ([start(), raw("TEXT_MESSAGE_CONTENT", message_id="m", delta="a"), delta("b")], "ab"),
        ([snapshot(("user", "q"), ("assistant", "a"), ("tool", "t"))], "a"),
        ([snapshot(("assistant", "old"), ("user", "q"))], None),
        ([start(), delta("said"), snapshot(("user", "q"), ("assistant", ""))], "said"),
        (
            [snapshot(("user", "q"), ("assistant", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]))],
            "ab",
        ),
        ([raw("MESSAGES_SNAPSHOT", messages=7), raw("TEXT_MESSAGE_START", messageId=7), delta("a")], "a"),
    ],
)
def test_answer_is_the_last_assistant_message_with_text(events: list[Any], expected: str | None, at_once: bool) -> None:
    assert answer(*events, at_once=at_once) == expected


def test_answer_is_cut_between_characters() -> None:
    found = answer(start(), *[delta("xé") for _ in range(MAX_BYTES)])
    assert found is not None
    assert MAX_BYTES - 2 <= len(found.encode()) <= MAX_BYTES
    assert set(found) == {"x", "é"}
