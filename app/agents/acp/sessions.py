"""An agent's own sessions: taken up again where the agent can, made anew where it cannot, with the model asked for."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

from acp import RequestError, schema
from pydantic import ValidationError

from app.agents.acp.connection import AcpConnection
from app.agents.acp.prompt import Conversation, recall
from app.agents.port import Turn

RESUME_SECONDS = 30.0

_Resume = Callable[..., Awaitable[schema.ResumeSessionResponse | schema.LoadSessionResponse]]
_Option = schema.SessionConfigOptionSelect | schema.SessionConfigOptionBoolean


async def open_session(link: AcpConnection, turn: Turn) -> Conversation:
    """The conversation of an earlier process, if the agent takes it up again, or else a new one."""
    directory = str(turn.workspace.resolve())
    conversation = recall(turn.saved_state)
    options = await _resume(link, turn, directory, conversation) if conversation else None
    if conversation is None or options is None:
        made = await link.connection.new_session(cwd=directory)
        conversation, options = Conversation(made.session_id), made.config_options or []
    if turn.model:
        await _choose_model(link, turn, conversation.session_id, options)
    return conversation


async def _resume(
    link: AcpConnection, turn: Turn, directory: str, conversation: Conversation
) -> Sequence[_Option] | None:
    """Let the agent take up its session, and return the session's options; None if it does not."""
    of_sessions = link.can.session_capabilities
    resumes = bool(of_sessions and of_sessions.resume is not None)
    if not resumes and not link.can.load_session:
        return None
    take_up: _Resume = link.connection.resume_session if resumes else link.connection.load_session
    try:
        async with asyncio.timeout(RESUME_SECONDS):
            answer = await take_up(cwd=directory, session_id=conversation.session_id)
    except (RequestError, ValidationError, TimeoutError):
        turn.log("does not take up its earlier conversation and is told of it")
        return None
    except OSError:
        await turn.save_state("")  # the next turn must not fail of it too
        raise
    return answer.config_options or []


async def _choose_model(link: AcpConnection, turn: Turn, session_id: str, options: Sequence[_Option]) -> None:
    """Set the model by its value or its name; an agent that does not let us keeps its own choice."""
    for option in options:
        if isinstance(option, schema.SessionConfigOptionSelect) and "model" in (option.category, option.id):
            value = next((each.value for each in _offered(option) if turn.model in (each.value, each.name)), turn.model)
            if value == option.current_value:
                return
            try:
                await link.connection.set_config_option(config_id=option.id, session_id=session_id, value=value or "")
            except RequestError:
                break
            return
    turn.log(f"cannot be given the model {turn.model}; its own choice stays")


def _offered(option: schema.SessionConfigOptionSelect) -> Iterator[schema.SessionConfigSelectOption]:
    for each in option.options:
        if isinstance(each, schema.SessionConfigSelectGroup):
            yield from each.options
        else:
            yield each
