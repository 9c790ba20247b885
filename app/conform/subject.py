"""The session in which a server is checked, and what the checks do with it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import uuid4

from app.conform.caller import Answer, Caller
from app.conform.contract import Violation, require

WAIT_SECONDS = 60
ENDS = {"RUN_FINISHED", "RUN_ERROR"}
ENDED = {"completed", "error", "interrupted", "waiting"}
CUTS = 5
MOST_WAITS = 10
POLL_SECONDS = 0.1


class NotApplicable(Exception):
    """A rule cannot be checked on this server; the message says why."""


@dataclass(frozen=True)
class Messages:
    """Messages to the agent of the server under test, by default the demo agent's; "" leaves out what needs one."""

    quick: str = "list the files"
    slow: str = "slow 50"
    asking: str = "delete notes.txt"


@dataclass
class Subject:
    """The server under test and the session in which its rules are checked."""

    caller: Caller
    messages: Messages = field(default_factory=Messages)
    mark: str = field(default_factory=lambda: uuid4().hex)

    @cached_property
    def capabilities(self) -> set[str]:
        """The operations and features that the server says it has."""
        return set(self.caller.call("whoami", expect=200).body["capabilities"])

    def need(self, *capabilities: str) -> None:
        """Raise `NotApplicable` unless the server has all of these."""
        if missing := sorted(set(capabilities) - self.capabilities):
            raise NotApplicable(f"the server does not have {', '.join(missing)}")

    @property
    def new(self) -> dict[str, Any]:
        """The body that creates the session."""
        return {"task": self.messages.quick, "display_name": f"conform {self.mark}", "labels": {"conform": self.mark}}

    @cached_property
    def created(self) -> Answer:
        """The response that created the session."""
        return self.caller.call("create_session", body=self.new, headers=self.key_of("create"), expect=201)

    @cached_property
    def session(self) -> str:
        """The id of the session, which has nothing left to do."""
        session: dict[str, Any] = self.idle(self.created.body["id"])
        return str(session["id"])

    @cached_property
    def run(self) -> str:
        """The id of a run that has ended."""
        return str(self.ended(self.say(self.messages.quick))["run_id"])

    def key_of(self, purpose: str) -> dict[str, str]:
        """Return the header with an idempotency key for one purpose."""
        return {"Idempotency-Key": f"{self.mark}-{purpose}"}

    def idle(self, session_id: str) -> dict[str, Any]:
        """Wait until a session is neither pending nor working and return it."""
        return self._wait_for(_is_idle, "get_session", session_id)

    def settled(self, session_id: str) -> dict[str, Any]:
        """Wait until a session that was started or stopped has reached its new state and return it."""
        while (session := self.idle(session_id))["status"] == "stopping":
            time.sleep(POLL_SECONDS)
        return session

    def say(self, content: str, **body: Any) -> str:
        """Send a message and return the id of its run."""
        sent = self.caller.call("send_message", self.session, body={"content": content, **body}, expect=202)
        return str(sent.body["run_id"])

    def ended(self, run_id: str) -> dict[str, Any]:
        """Wait for the end of a run and return it."""
        return self._wait_for(lambda run: run["status"] in ENDED, "get_run", self.session, run_id)

    def _wait_for(self, is_reached: Callable[[dict[str, Any]], bool], operation: str, *path: str) -> dict[str, Any]:
        for _ in range(MOST_WAITS):
            started = time.monotonic()
            found: dict[str, Any] = self.caller.call(operation, *path, query={"wait": WAIT_SECONDS}, expect=200).body
            if is_reached(found):
                return found
            waited = time.monotonic() - started
            require(waited > WAIT_SECONDS / 2, f"{operation} with wait returned too early: {found['status']}")
        raise Violation(f"{operation} still returns {found['status']} after {MOST_WAITS} waits of {WAIT_SECONDS} s")

    def begun(self) -> str:
        """Send a message that takes long and return the id of its run once that is active."""
        if not self.messages.slow:
            raise NotApplicable("there is no message that takes long")
        run_id = self.say(self.messages.slow)
        for frame in self.caller.stream(self.session, query={"run_id": run_id}):
            require(frame.event["type"] not in ENDS, "the run ended before it could be interrupted")
            if frame.event["type"] == "TEXT_MESSAGE_CONTENT":
                break
        return run_id

    def log(self, format: str = "events", **query: Any) -> Any:
        """Return the session's log in a format."""
        query = {"format": format, **query}
        return self.caller.call("get_session_output", self.session, query=query, expect=200).body


def _is_idle(session: dict[str, Any]) -> bool:
    return session["status"] != "pending" and session.get("activity") != "working"


def is_error(answer: Answer, status: int, code: str) -> None:
    """Raise `Violation` unless a response is this error."""
    got = f"{answer.status} {answer.code}"
    require((answer.status, answer.code) == (status, code), f"the response is {got}, not {status} {code}")
