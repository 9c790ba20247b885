"""The port's runs, and the approvals that they wait for."""

from abc import ABC, abstractmethod
from typing import Any

from app.errors import ApiError, Detail, NotSupported
from app.models.approvals import Approval, ApprovalAnswer, ApprovalList
from app.models.caller import Caller
from app.models.runs import (
    AcceptedRun,
    InterruptResult,
    MessageCreate,
    RunCreate,
    RunList,
    RunMessage,
    RunStatus,
    RunSummary,
)
from app.results import EventStream, Idempotent


class Runs(ABC):
    """Operations on the runs of a session and on their approvals. The duties of `Backend` apply."""

    async def send_message(self, caller: Caller, session_id: str, message: MessageCreate) -> Idempotent[AcceptedRun]:
        """Start a run with one message of the user. (POST /v1/sessions/{session_id}/message)

        Raises `NotRunning`, `SessionBusy`, `AttachmentNotUsable`, `NotSupported`.
        """
        user_message = RunMessage(role="user", content=message.content, attachments=message.attachments)
        run = RunCreate(messages=[user_message], on_busy=message.on_busy)
        try:
            return await self.create_run(caller, session_id, run)
        except ApiError as error:
            _locate_in_body(error)
            raise

    @abstractmethod
    async def create_run(self, caller: Caller, session_id: str, run: RunCreate) -> Idempotent[AcceptedRun]:
        """Accept a run, which from then on reaches a terminal state. (POST /v1/sessions/{session_id}/runs)

        Raises `NotRunning`, `RunExists`, `SessionBusy`, `AttachmentNotUsable`, `NotSupported`.
        """

    @abstractmethod
    async def run_agent(self, caller: Caller, session_id: str, run_input: dict[str, Any]) -> EventStream:
        """Accept a run of an AG-UI client and stream its events. (POST /v1/sessions/{session_id}/agui)

        `run_input` is a RunAgentInput. Its threadId is only echoed, since the run belongs to the session's own thread.
        The run continues when the client disconnects. Raises `NotRunning`, `RunExists`, `AttachmentNotUsable`,
        `NotSupported`.
        """

    @abstractmethod
    async def list_runs(self, caller: Caller, session_id: str, *, status: RunStatus | None) -> RunList:
        """Return the runs of a session in the order of their start. (GET /v1/sessions/{session_id}/runs)"""

    @abstractmethod
    async def get_run(self, caller: Caller, session_id: str, run_id: str, *, wait: int = 0) -> RunSummary:
        """Return a run, once it has ended or after `wait` seconds. (GET /v1/sessions/{session_id}/runs/{run_id})

        Raises `RunNotFound`.
        """

    @abstractmethod
    async def cancel_run(self, caller: Caller, session_id: str, run_id: str) -> None:
        """Remove a queued run from the queue. (DELETE /v1/sessions/{session_id}/runs/{run_id})

        Raises `RunNotFound`, `RunActive`, `RunEnded`, and `NotSupported` if the queue is out of reach.
        """

    @abstractmethod
    async def interrupt_session(self, caller: Caller, session_id: str) -> InterruptResult:
        """Cancel the current run; the session keeps running. (POST /v1/sessions/{session_id}/interrupt)"""

    async def list_approvals(
        self,
        caller: Caller,  # noqa: ARG002 - unused in the default
        session_id: str,  # noqa: ARG002
    ) -> ApprovalList:
        """Return the pending approvals of a session. (GET /v1/sessions/{session_id}/approvals)

        Raises `NotSupported`.
        """
        raise NotSupported

    async def answer_approval(
        self,
        caller: Caller,  # noqa: ARG002 - unused in the default
        session_id: str,  # noqa: ARG002
        approval_id: str,  # noqa: ARG002
        answer: ApprovalAnswer,  # noqa: ARG002
    ) -> Approval:
        """Allow or deny an approval, and return it. (POST /v1/sessions/{session_id}/approvals/{approval_id})

        Raises `ApprovalNotFound`, `ApprovalClosed`, `NotSupported`, and `NotRunning` if the decision takes a run.
        """
        raise NotSupported


def _locate_in_body(error: ApiError) -> None:
    """Give an error about the only message of a run the locations that it has in the body of send_message."""
    there, here = "body.messages[0].", "body."
    error.details = tuple(Detail(each.location.replace(there, here, 1), each.message) for each in error.details)
    error.message = error.message.replace(there, here, 1)
