"""Approvals: list, answer."""

from app.models.approvals import Approval, ApprovalAnswer, ApprovalList
from app.models.caller import Caller
from app.port.backend import Backend


async def list_approvals(backend: Backend, caller: Caller, *, session_id: str) -> ApprovalList:
    """List the approvals that the session's agent waits for."""
    return await backend.runs.list_approvals(caller, session_id)


async def answer_approval(
    backend: Backend, caller: Caller, *, session_id: str, approval_id: str, body: ApprovalAnswer
) -> Approval:
    """Allow or deny an approval."""
    return await backend.runs.answer_approval(caller, session_id, approval_id, body)
