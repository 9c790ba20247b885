"""Rules of the log: its formats, pages and streams."""

from typing import Any

import requests

from app.conform.contract import require
from app.conform.subject import CUTS, ENDS, NotApplicable, Subject, is_error


def one_end(subject: Subject) -> None:
    """A run's events begin with one RUN_STARTED and end with one RUN_FINISHED or RUN_ERROR."""
    types = [event["type"] for event in subject.log(run_id=subject.run)["events"]]
    require(types[:1] == ["RUN_STARTED"], f"the run begins with {types[:1]}")
    require(types[-1:] and types[-1] in ENDS, f"the run ends with {types[-1:]}")
    require(types.count("RUN_STARTED") == 1, "the run has more than one RUN_STARTED")
    require(sum(one in ENDS for one in types) == 1, "the run has more than one end")


def compaction(subject: Subject) -> None:
    """The compact format has the same texts as the events, with their deltas joined."""
    events = subject.log(run_id=subject.run)["events"]
    compact = subject.log("compact", run_id=subject.run)["events"]
    require(_texts(events) == _texts(compact), "the texts differ")
    deltas = [event["messageId"] for event in compact if event["type"] == "TEXT_MESSAGE_CONTENT"]
    require(len(deltas) == len(set(deltas)), "a message has more than one delta")


def _texts(events: list[dict[str, Any]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for event in events:
        if event["type"] in {"TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CHUNK"}:
            texts[event["messageId"]] = texts.get(event["messageId"], "") + event["delta"]
    return texts


def transcript(subject: Subject) -> None:
    """The transcript begins with the task and has each run's answer as a message of the assistant."""
    messages = subject.log("transcript")["messages"]
    user_texts = [message["content"] for message in messages if message["role"] == "user"]
    require(user_texts[:1] == [subject.new["task"]], "the first message is not the task")
    run = subject.caller.call("get_run", subject.session, subject.run, expect=200).body
    spoken = [message.get("content", "") for message in messages if message["role"] == "assistant"]
    require(any(text.startswith(run["answer"]) for text in spoken), "no message is the answer of the run")


def pages(subject: Subject) -> None:
    """Pages of the log, each read after the last one's cursor, are the whole log."""
    whole = subject.log()["events"]
    found: list[Any] = []
    query: dict[str, Any] = {"limit": max(2, len(whole) // CUTS)}
    while True:
        page = subject.log(**query)
        require(len(page["events"]) <= query["limit"], "a page has more events than its limit")
        found += page["events"]
        if not page["events"] or "next_after" not in page:
            break
        query["after"] = page["next_after"]
        require(len(found) <= len(whole), "the pages have more events than the log")
    require(found == whole, "the pages are not the log")


def conditional(subject: Subject) -> None:
    """A response with an ETag is 304 for who has it."""
    query = {"format": "events"}
    first = subject.caller.call("get_session_output", subject.session, query=query, expect=200)
    if not (tag := first.headers.get("ETag")):
        raise NotApplicable("the output has no ETag")
    headers = {"If-None-Match": tag}
    again = subject.caller.call("get_session_output", subject.session, query=query, headers=headers)
    require(again.status == requests.codes.not_modified, f"the response is {again.status}, not 304")


def streaming(subject: Subject) -> None:
    """The stream of a run has the run's events of the log, each with a cursor of its own, and ends with the run."""
    frames = list(subject.caller.stream(subject.session, query={"run_id": subject.run}))
    require([frame.event for frame in frames] == subject.log(run_id=subject.run)["events"], "the events differ")
    cursors = [frame.id for frame in frames]
    require(all(cursors) and len(set(cursors)) == len(cursors), "cursors are missing or come twice")


def resumption(subject: Subject) -> None:
    """A stream that goes on after a cursor has exactly the events behind it, wherever it was cut."""
    frames = list(subject.caller.stream(subject.session, query={"run_id": subject.run}))
    for index in range(0, len(frames), max(1, len(frames) // CUTS)):
        query = {"run_id": subject.run}
        remaining = list(subject.caller.stream(subject.session, query=query, after=frames[index].id))
        require(remaining == frames[index + 1 :], f"after event {index + 1} of {len(frames)} the events differ")


def cursors(subject: Subject) -> None:
    """A cursor that is malformed is refused with 400, one that the log does not have with 409."""
    query = {"format": "events", "after": "not a cursor"}
    is_error(subject.caller.call("get_session_output", subject.session, query=query), 400, "invalid_request")
    query["after"] = "9" * 18
    is_error(subject.caller.call("get_session_output", subject.session, query=query), 409, "cursor_expired")
