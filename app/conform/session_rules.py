"""Rules of requests and of sessions."""

from app.conform.contract import require
from app.conform.subject import Subject, is_error


def identity(subject: Subject) -> None:
    """whoami tells the project of the request and what the server can do."""
    body = subject.caller.call("whoami", expect=200).body
    require(
        {"create_session", "get_session", "send_message"} <= set(body["capabilities"]), "capabilities lack operations"
    )


def authentication(subject: Subject) -> None:
    """A request without a token, or with an unknown one, is refused with 401, without one whatever the body."""
    for key, body in (("", {"nothing": "valid"}), ("no-such-key", subject.new)):
        is_error(subject.caller.call("list_sessions", key=key), 401, "unauthorized")
        is_error(subject.caller.call("create_session", key=key, body=body), 401, "unauthorized")


def unknown_fields(subject: Subject) -> None:
    """A field that the document does not know is refused with 400, which names its place and not its value."""
    answer = subject.caller.call("create_session", body={**subject.new, "no_such_field": "the-value"})
    is_error(answer, 400, "invalid_request")
    locations = [detail["location"] for detail in answer.body.get("details", ())]
    require(locations == ["body.no_such_field"], f"details name {locations}")
    require(b"the-value" not in answer.content, "the refused value is repeated")


def all_faults(subject: Subject) -> None:
    """Every fault of a body is named in one response."""
    answer = subject.caller.call("create_session", body={"task": 1, "labels": {"a": 2}})
    is_error(answer, 400, "invalid_request")
    locations = {detail["location"] for detail in answer.body.get("details", ())}
    require(locations == {"body.task", "body.labels.a"}, f"details name {sorted(locations)}")


def bodies(subject: Subject) -> None:
    """A body that is no JSON is refused with 400, one of another type with 415."""
    is_error(subject.caller.call("create_session", data=b'{"task": '), 400, "invalid_request")
    typed = {"Content-Type": "text/plain"}
    is_error(subject.caller.call("create_session", data=b'{"task": "x"}', headers=typed), 415, "unsupported_media_type")


def unknown_session(subject: Subject) -> None:
    """A session that the project does not have is 404 for every operation on it."""
    for operation, body in (("get_session", None), ("delete_session", None), ("send_message", {"content": "x"})):
        is_error(subject.caller.call(operation, "no-such-session", body=body), 404, "session_not_found")


def creation(subject: Subject) -> None:
    """A session is created with 201, its address in Location, and the fields of the request."""
    created = subject.created
    session = created.body
    place = created.headers.get("Location", "")
    require(place.endswith(f"/v1/sessions/{session['id']}"), f"Location is {place!r}")
    for name in ("task", "display_name", "labels"):
        require(session.get(name) == subject.new[name], f"{name} is {session.get(name)!r}, not that of the request")


def replay(subject: Subject) -> None:
    """The same request with the same idempotency key takes effect once and gets the same response."""
    first = subject.created
    reordered = dict(reversed(subject.new.items()))
    again = subject.caller.call("create_session", body=reordered, headers=subject.key_of("create"), expect=201)
    require(again.headers.get("Idempotency-Replayed") == "true", "the repetition has no Idempotency-Replayed: true")
    require("Idempotency-Replayed" not in first.headers, "the first response is called a repetition")
    require(again.body == first.body, "the repetition has another body")
    require(again.headers.get("Location") == first.headers["Location"], "the repetition has another Location")
    query = {"label": f"conform={subject.mark}"}
    total = subject.caller.call("list_sessions", query=query, expect=200).body["total"]
    require(total == 1, f"{total} sessions were created")


def reused_key(subject: Subject) -> None:
    """An idempotency key of another request is refused with 409."""
    _ = subject.created
    body = {**subject.new, "task": "another task"}
    answer = subject.caller.call("create_session", body=body, headers=subject.key_of("create"))
    is_error(answer, 409, "idempotency_key_reused")


def waiting(subject: Subject) -> None:
    """With wait, a session is returned once it is neither pending nor working, and then it runs and is idle."""
    session = subject.idle(subject.session)
    require(session["status"] == "running", f"the session is {session['status']}: {session.get('error', '')}")
    require(session.get("activity") == "idle", f"its activity is {session.get('activity')!r}")


def listing(subject: Subject) -> None:
    """Sessions are found by label, status and text, newest first, in pages."""
    session, mark = subject.session, subject.mark
    for query, expected in (
        ({"label": f"conform={mark}"}, [session]),
        ({"label": f"conform={mark}", "status": "running"}, [session]),
        ({"label": f"conform={mark}", "status": "failed"}, []),
        ({"label": [f"conform={mark}", "no=such"]}, []),
        ({"search": mark}, [session]),
        ({"label": f"conform={mark}", "offset": 1}, []),
    ):
        page = subject.caller.call("list_sessions", query=query, expect=200).body
        found = [item["id"] for item in page["items"]]
        require(found == expected, f"{query} finds {len(found)} sessions instead of {len(expected)}")
    page = subject.caller.call("list_sessions", query={"limit": 1}, expect=200).body
    require(len(page["items"]) == 1, f"limit=1 returns {len(page['items'])} sessions")
    require(page["has_more"] == (page["total"] > 1), "has_more does not fit total")


def labels(subject: Subject) -> None:
    """Labels are set one by one; all others stay."""
    set_labels(subject, {"tier": "gold"}, {"conform": subject.mark, "tier": "gold"})


def label_removal(subject: Subject) -> None:
    """Labels are removed by null; all others stay."""
    subject.need("remove_labels")
    set_labels(subject, {"tier": "gold"}, {"conform": subject.mark, "tier": "gold"})
    set_labels(subject, {"tier": None}, {"conform": subject.mark})


def set_labels(subject: Subject, changes: dict[str, str | None], expected: dict[str, str]) -> None:
    """Change labels; raise `Violation` unless they are as expected, in the response and when read again."""
    changed = subject.caller.call("update_session", subject.session, body={"labels": changes}, expect=200).body
    read = subject.caller.call("get_session", subject.session, expect=200).body
    for where, session in (("in the response", changed), ("when the session is read again", read)):
        require(session["labels"] == expected, f"after {changes} the labels {where} are {session['labels']}")


def stopping(subject: Subject) -> None:
    """A stopped session refuses messages and another stop; started again, it goes on with its conversation."""
    session = subject.session
    subject.caller.call("stop_session", session, expect=202)
    status = subject.settled(session)["status"]
    require(status in {"stopped", "completed"}, f"the session is {status}")
    refused = subject.caller.call("send_message", session, body={"content": subject.messages.quick})
    is_error(refused, 422, "session_not_running")
    is_error(subject.caller.call("stop_session", session), 422, "session_already_ended")
    before = subject.log("transcript")["messages"]
    subject.caller.call("start_session", session, expect=202)
    started = subject.settled(session)
    require(started["status"] == "running", f"the session is {started['status']} after its start")
    subject.ended(subject.say(subject.messages.quick))
    after = subject.log("transcript")["messages"]
    require(after[: len(before)] == before, "the conversation before the stop has changed")


def deletion(subject: Subject) -> None:
    """A deleted session is gone: 404, and in no list."""
    session = subject.session
    subject.caller.call("delete_session", session, expect=204)
    is_error(subject.caller.call("get_session", session), 404, "session_not_found")
    is_error(subject.caller.call("delete_session", session), 404, "session_not_found")
    query = {"label": f"conform={subject.mark}"}
    page = subject.caller.call("list_sessions", query=query, expect=200).body
    require(page["items"] == [], "the session is still listed")
