"""Rules of messages, runs and approvals."""

import json
from uuid import uuid4

import requests

from app.conform.contract import require
from app.conform.subject import NotApplicable, Subject, is_error


def answers(subject: Subject) -> None:
    """A message becomes a run, which ends and then has its answer and times."""
    run = subject.caller.call("get_run", subject.session, subject.run, expect=200).body
    require(run["status"] == "completed", f"the run is {run['status']}: {run.get('error', '')}")
    require(run.get("answer", "").strip(), "the run has no answer")
    require(run.get("user_message") == subject.messages.quick, "user_message is not the message")
    require(run.get("started_at", 0) <= run.get("finished_at", -1), "the run ends before it starts")
    listed = subject.caller.call("list_runs", subject.session, expect=200).body["runs"]
    require([one["run_id"] for one in listed].count(subject.run) == 1, "list_runs does not have the run once")


def message_replay(subject: Subject) -> None:
    """A message with an idempotency key is sent once."""
    key = subject.key_of("message")
    body = {"content": subject.messages.quick}
    first, again = (
        subject.caller.call("send_message", subject.session, body=body, headers=key, expect=202) for _ in range(2)
    )
    require(again.body == first.body, "the repetition names another run")
    subject.ended(first.body["run_id"])
    runs = subject.caller.call("list_runs", subject.session, expect=200).body["runs"]
    require([run["run_id"] for run in runs].count(first.body["run_id"]) == 1, "the run is there more than once")


def unknown_run(subject: Subject) -> None:
    """A run that the session does not have is 404."""
    is_error(subject.caller.call("get_run", subject.session, str(uuid4())), 404, "run_not_found")


def live(subject: Subject) -> None:
    """Events arrive while the run that makes them goes on."""
    run_id = subject.begun()
    status = subject.caller.call("get_run", subject.session, run_id, expect=200).body["status"]
    subject.caller.call("interrupt_session", subject.session, expect=200)
    subject.ended(run_id)
    require(status == "running", f"the run was {status} when its first text had arrived")


def interruption(subject: Subject) -> None:
    """An interrupt ends the active run as interrupted, and does nothing where none is active."""
    run_id = subject.begun()
    first = subject.caller.call("interrupt_session", subject.session, expect=200).body
    require(first["interrupted"] is not False, "interrupted is false although a run was active")
    run = subject.ended(run_id)
    require(run["status"] == "interrupted", f"the run is {run['status']}")
    again = subject.caller.call("interrupt_session", subject.session, expect=200).body
    require(again["interrupted"] is False, f"interrupted is {again['interrupted']} although no run was active")


def busy(subject: Subject) -> None:
    """A busy session refuses a message with on_busy reject, and queues one without."""
    active = subject.begun()
    body = {"content": subject.messages.quick, "on_busy": "reject"}
    refused = subject.caller.call("send_message", subject.session, body=body)
    queued = subject.say(subject.messages.quick)
    status = subject.caller.call("get_run", subject.session, queued, expect=200).body["status"]
    subject.caller.call("interrupt_session", subject.session, expect=200)
    runs = [subject.ended(run_id)["status"] for run_id in (active, queued)]
    is_error(refused, 409, "session_busy")
    require(status == "queued", f"the second run was {status} while the first one was active")
    require(runs == ["interrupted", "completed"], f"the runs ended as {runs}")


def removal(subject: Subject) -> None:
    """A queued run can be removed; it ends as interrupted, and its message is no part of the conversation."""
    subject.need("cancel_run")
    active, word = subject.begun(), uuid4().hex
    queued = subject.say(word)
    removed = subject.caller.call("cancel_run", subject.session, queued)
    subject.caller.call("interrupt_session", subject.session, expect=200)
    subject.ended(active)
    require(removed.status == requests.codes.no_content, f"cancel_run responded with {removed.status}")
    require(subject.ended(queued)["status"] == "interrupted", "the removed run is not interrupted")
    conversation = json.dumps(subject.log("transcript")["messages"])
    require(word not in conversation, "the message of the removed run is in the conversation")
    is_error(subject.caller.call("cancel_run", subject.session, queued), 409, "run_ended")


def approvals(subject: Subject) -> None:
    """An approval waits until it is decided once; then the work goes on and the session is idle."""
    if not subject.messages.asking:
        raise NotApplicable("there is no message that makes the agent ask")
    subject.need("answer_approval", "list_approvals")
    run_id = subject.say(subject.messages.asking)
    session = subject.idle(subject.session)
    require(session.get("activity") == "waiting", f"the session's activity is {session.get('activity')!r}")
    pending = subject.caller.call("list_approvals", subject.session, expect=200).body["items"]
    pending = [one for one in pending if one["status"] == "pending"]
    named = session.get("waiting_for", {}).get("approvals")
    require(pending and named == [one["id"] for one in pending], f"waiting_for names {named}")
    for approval in pending:
        place = (subject.session, approval["id"])
        decided = subject.caller.call("answer_approval", *place, body={"decision": "allow"}, expect=200).body
        require(decided["status"] == "allowed", f"the approval is {decided['status']}")
        answer = subject.caller.call("answer_approval", *place, body={"decision": "deny"})
        is_error(answer, 409, "approval_closed")
    session = subject.idle(subject.session)
    require(session.get("activity") == "idle", f"the session's activity is {session.get('activity')!r} at the end")
    run = subject.ended(run_id)
    while "continued_by" in run:
        run = subject.ended(run["continued_by"])
    require(run["status"] == "completed", f"the run is {run['status']}")
    is_error(
        subject.caller.call("answer_approval", subject.session, "no-such-approval", body={"decision": "allow"}),
        404,
        "approval_not_found",
    )


def ag_ui(subject: Subject) -> None:
    """An AG-UI client sends a message and reads a run from RUN_STARTED to its end, with its own ids."""
    subject.need("run_agent")
    run_id = str(uuid4())
    events = subject.caller.run_agent(
        subject.session,
        {
            "threadId": subject.session,
            "runId": run_id,
            "messages": [{"id": str(uuid4()), "role": "user", "content": subject.messages.quick}],
            "tools": [],
            "context": [],
            "state": {},
            "forwardedProps": {},
        },
    )
    types = [event["type"] for event in events]
    require(types[:1] == ["RUN_STARTED"] and types[-1:] == ["RUN_FINISHED"], f"the run is {types[:1]} to {types[-1:]}")
    own = {event["runId"] for event in events if event["type"] in {"RUN_STARTED", "RUN_FINISHED"}}
    require(own == {run_id}, f"the run's id is {sorted(own)}")
