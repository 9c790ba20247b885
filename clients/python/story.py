"""Every step of working with sessions, with the client that openapi-python-client generates.

$AMBIENT_API is the address of the API, such as http://127.0.0.1:8081/v1, and $AMBIENT_KEY a key. The agent is `demo`.
"""

import json
import os
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, TypeVar
from uuid import uuid4

import httpx
from ambient_client import AuthenticatedClient
from ambient_client.api.access import whoami
from ambient_client.api.approvals import answer_approval, list_approvals
from ambient_client.api.lifecycle import interrupt_session, start_session, stop_session
from ambient_client.api.output import get_session_output
from ambient_client.api.runs import get_run, send_message
from ambient_client.api.sessions import create_session, delete_session, get_session, list_sessions, update_session
from ambient_client.models import (
    Activity,
    ApprovalAnswer,
    ApprovalStatus,
    CompactLog,
    Decision,
    Error,
    EventLog,
    LabelChanges,
    Labels,
    MessageCreate,
    OutputFormat,
    RunStatus,
    RunSummary,
    Session,
    SessionCreate,
    SessionStatus,
    SessionUpdate,
    Transcript,
)
from ambient_client.types import Response, Unset

T = TypeVar("T")


class Story:
    """One session, from its creation to its end."""

    def __init__(self, client: AuthenticatedClient) -> None:
        self.client = client
        self.mark = uuid4().hex
        self.id = ""

    def run(self) -> None:
        """Run every step; an assertion fails at the first one that goes wrong."""
        identity = expect(whoami.sync(client=self.client))
        print("whoami:", identity.project)
        self.create()
        self.talk()
        self.read()
        self.find()
        self.label()
        self.interrupt()
        self.follow()
        self.approve()
        self.stop_and_start()
        self.be_refused()
        self.delete()

    def create(self) -> None:
        """Create a session twice with one key: the second response is the first one again."""
        body = SessionCreate(
            task="list the files", display_name=f"Python {self.mark}", labels=Labels.from_dict(self.labels)
        )
        first = create_session.sync_detailed(client=self.client, body=body, idempotency_key=self.mark)
        again = create_session.sync_detailed(client=self.client, body=body, idempotency_key=self.mark)
        session = expect(first.parsed)
        assert (first.status_code, again.status_code) == (201, 201)
        assert "Idempotency-Replayed" not in first.headers
        assert again.headers["Idempotency-Replayed"] == "true"
        assert expect(again.parsed).id == session.id
        self.id = session.id
        assert self.wait().status is SessionStatus.RUNNING
        print("created:", session.id)

    @property
    def labels(self) -> dict[str, Any]:
        """The labels that the session begins with."""
        return {"client": "python", "story": self.mark}

    def wait(self) -> Session:
        """Wait until the session has nothing left to do or needs a decision."""
        return expect(get_session.sync(self.id, client=self.client, wait=60))

    def say(self, text: str) -> str:
        """Send a message and return the id of its run."""
        return expect(send_message.sync(self.id, client=self.client, body=MessageCreate(content=text))).run_id

    def ended(self, run_id: str) -> RunSummary:
        """Wait for the end of a run."""
        run = expect(get_run.sync(self.id, run_id, client=self.client, wait=60))
        assert isinstance(run, RunSummary)
        return run

    def talk(self) -> None:
        """Send a message and read the answer to it."""
        run = self.ended(self.say("what did I say?"))
        assert run.status is RunStatus.COMPLETED
        assert not isinstance(run.answer, Unset)
        assert "list the files" in run.answer
        print("answer:", run.answer)

    def read(self) -> None:
        """Read the output in each of its formats."""
        transcript, compact, events = (
            get_session_output.sync(self.id, client=self.client, format_=format_)
            for format_ in (OutputFormat.TRANSCRIPT, OutputFormat.COMPACT, OutputFormat.EVENTS)
        )
        assert isinstance(transcript, Transcript)
        assert isinstance(compact, CompactLog)
        assert isinstance(events, EventLog)
        assert transcript.messages[0].content == "list the files"
        assert 0 < len(compact.events) < len(events.events)
        print("output:", len(transcript.messages), "messages,", len(events.events), "events")

    def find(self) -> None:
        """Find the session by what it is, what it has and what it is called."""
        for filters in (
            {"status": [SessionStatus.RUNNING], "label": [f"story={self.mark}"]},
            {"activity": [Activity.IDLE], "search": self.mark},
        ):
            page = expect(list_sessions.sync(client=self.client, **filters))
            assert [found.id for found in page.items] == [self.id]
        page = expect(list_sessions.sync(client=self.client, status=[SessionStatus.FAILED], search=self.mark))
        assert page.items == []

    def label(self) -> None:
        """Set labels, remove one by null and one by its name."""
        changes = LabelChanges.from_dict({"tier": "gold", "client": None})
        session = expect(update_session.sync(self.id, client=self.client, body=SessionUpdate(labels=changes)))
        assert not isinstance(session.labels, Unset)
        assert session.labels.additional_properties == {"story": self.mark, "tier": "gold"}
        session = expect(update_session.sync(self.id, client=self.client, body=SessionUpdate(remove_labels=["tier"])))
        assert not isinstance(session.labels, Unset)
        assert session.labels.additional_properties == {"story": self.mark}

    def interrupt(self) -> None:
        """Cancel a run that would take minutes."""
        run_id = self.say("slow 3000")
        while expect(get_run.sync(self.id, run_id, client=self.client)).status is RunStatus.QUEUED:
            pass
        assert expect(interrupt_session.sync(self.id, client=self.client)).interrupted
        assert self.ended(run_id).status is RunStatus.INTERRUPTED

    def follow(self) -> None:
        """Follow the events of a run, then continue after an event in the middle."""
        run_id = self.say("slow 5")
        frames = list(self.events(run_id))
        types = [event["type"] for _, event in frames]
        assert (types[0], types[-1]) == ("RUN_STARTED", "RUN_FINISHED")
        assert types.count("TEXT_MESSAGE_CONTENT") == 5
        cursor, _ = frames[2]
        assert list(self.events(run_id, cursor)) == frames[3:]
        print("followed:", len(frames), "events")

    def events(self, run_id: str, cursor: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the events of a run as they happen, each with its cursor.

        The function that is generated for this operation returns when the stream has ended.
        """
        headers = {"Last-Event-ID": cursor} if cursor else {}
        address = f"/sessions/{self.id}/events"
        with self.client.get_httpx_client().stream(
            "GET", address, params={"run_id": run_id}, headers=headers, timeout=httpx.Timeout(60)
        ) as response:
            assert response.status_code == HTTPStatus.OK
            id_ = ""
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    id_ = value
                elif name == "data":
                    yield id_, json.loads(value)

    def approve(self) -> None:
        """Let the agent do what it asks for."""
        run = self.ended(self.say("delete notes.txt"))
        assert run.status is RunStatus.WAITING
        assert self.wait().activity is Activity.WAITING
        [approval] = expect(list_approvals.sync(self.id, client=self.client)).items
        assert approval.tool_name == "delete_file"
        answer = ApprovalAnswer(decision=Decision.ALLOW)
        decided = expect(answer_approval.sync(self.id, approval.id, client=self.client, body=answer))
        assert decided.status is ApprovalStatus.ALLOWED
        assert self.wait().activity is Activity.IDLE
        run = self.ended(run.run_id)
        assert run.status is RunStatus.COMPLETED
        assert not isinstance(run.continued_by, Unset)
        assert self.ended(run.continued_by).status is RunStatus.COMPLETED

    def stop_and_start(self) -> None:
        """Stop the session, start it again with its workspace and conversation, and stop it."""
        for operation, status in (
            (stop_session, SessionStatus.STOPPED),
            (start_session, SessionStatus.RUNNING),
            (stop_session, SessionStatus.STOPPED),
        ):
            expect(operation.sync(self.id, client=self.client))
            while (session := self.wait()).status is not status:
                assert session.status in {SessionStatus.STOPPING, SessionStatus.PENDING}

    def be_refused(self) -> None:
        """Refusals have a type of their own, with a code for programs."""
        message = MessageCreate(content="Hello?")
        refused(422, send_message.sync_detailed(self.id, client=self.client, body=message))
        refused(404, get_session.sync_detailed("session-of-nobody", client=self.client))
        refused(400, get_session_output.sync_detailed(self.id, client=self.client, after="1"))  # of a transcript

    def delete(self) -> None:
        """Delete the session."""
        assert delete_session.sync_detailed(self.id, client=self.client).status_code == HTTPStatus.NO_CONTENT
        refused(404, get_session.sync_detailed(self.id, client=self.client))


def expect(parsed: T | Error | None) -> T:
    """Return what an operation responded, unless it is an error."""
    assert parsed is not None
    assert not isinstance(parsed, Error), parsed
    return parsed


def refused(status: int, response: Response[Any]) -> Error:
    """Return the error of a response that has this status."""
    assert response.status_code == status
    assert isinstance(response.parsed, Error)
    print("refused:", status, response.parsed.code)
    return response.parsed


if __name__ == "__main__":
    address, key = os.environ["AMBIENT_API"], os.environ["AMBIENT_KEY"]
    with AuthenticatedClient(base_url=address, token=key, timeout=httpx.Timeout(90)) as client:
        Story(client).run()
    print("done")
