"""Questions of agents as approvals: the tool call is what has been requested, its labels are the options."""

from typing import Any

import msgspec

from app.agui.questions import QUESTION_TOOL, Question
from app.clock import rfc3339
from app.errors import BadRequest, Detail
from app.models.approvals import Approval, ApprovalAnswer, ApprovalOption, ApprovalStatus, Decision

DECLINED = "The user declined to answer."

_OPTION = "option_id"


def approval(question: Question, status: ApprovalStatus = ApprovalStatus.PENDING) -> Approval:
    """Return a question as an approval; a single question has its labels as options, all have a `response_schema`."""
    args = question.args
    questions = _questions(args)
    labels = [label for one in questions for label in _labels(one)] if len(questions) == 1 else []
    return Approval(
        id=question.id,
        run_id=question.run_id,
        status=status,
        created_at=rfc3339(question.created_at) or "",
        message="\n".join(text for one in questions if (text := _text(one, "question"))) or None,
        tool_call_id=question.id,
        tool_name=QUESTION_TOOL,
        args=args,
        options=[ApprovalOption(id=label, name=label, kind="allow_once") for label in labels] or None,
        response_schema=_schema(questions) if questions else None,
    )


def answer_text(question: Question, answer: ApprovalAnswer) -> str:
    """Return the answer as the agent gets it: the questions' texts with the chosen labels, as JSON; `BadRequest`.

    It is `option_id` for a single question, or a member of the payload for each question.
    """
    if answer.decision is Decision.DENY:
        return DECLINED
    questions = _questions(question.args)
    payload = dict(answer.payload or {})
    option = payload.pop(_OPTION, None)
    if option is not None:
        if len(questions) != 1 or option not in _labels(questions[0]):
            raise BadRequest(details=[Detail(f"body.payload.{_OPTION}", "must be the id of one of the options")])
        payload = {_text(questions[0], "question") or _OPTION: option} | payload
    if not payload:
        raise BadRequest(details=[Detail("body.payload", "must have option_id or an answer to each question")])
    return msgspec.json.encode(payload).decode()


def _questions(args: Any) -> list[dict[str, Any]]:
    questions = args.get("questions") if isinstance(args, dict) else None
    return [one for one in questions if isinstance(one, dict)] if isinstance(questions, list) else []


def _labels(question: dict[str, Any]) -> list[str]:
    options = question.get("options")
    found = (
        [_text(option, "label") for option in options if isinstance(option, dict)] if isinstance(options, list) else []
    )
    return [label for label in found if label]


def _schema(questions: list[dict[str, Any]]) -> dict[str, Any]:
    texts = {text: _labels(one) for one in questions if (text := _text(one, "question"))}
    properties = {text: {"type": "string"} | ({"examples": labels} if labels else {}) for text, labels in texts.items()}
    return {"type": "object", "properties": properties}


def _text(members: dict[str, Any], name: str) -> str | None:
    value = members.get(name)
    return value if isinstance(value, str) and value else None
