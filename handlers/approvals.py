"""Approvals: list, answer."""

from app.backend import Backend
from app.models.approvals import Approval, ApprovalAnswer, ApprovalList
from app.models.caller import Caller


async def list_approvals(backend: Backend, caller: Caller, *, session_id: str) -> ApprovalList:
    """List the approvals that the session's agent waits for."""
    return await backend.list_approvals(caller, session_id)


async def answer_approval(
    backend: Backend, caller: Caller, *, session_id: str, approval_id: str, body: ApprovalAnswer
) -> Approval:
    """Allow or deny an approval."""
    return await backend.answer_approval(caller, session_id, approval_id, body)
