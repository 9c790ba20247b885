"""The agent's own sessions, one for each thread: resumed if the agent can, made anew if not, with the turn's model."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

import msgspec
from acp import RequestError, schema
from pydantic import ValidationError

from app.agents.acp.connection import AcpConnection
from app.agents.acp.sign_in import AUTH_REQUIRED
from app.agents.port import Turn

RESUME_SECONDS = 30.0

_Resume = Callable[..., Awaitable[schema.ResumeSessionResponse | schema.LoadSessionResponse]]
_Option = schema.SessionConfigOptionSelect | schema.SessionConfigOptionBoolean


class AgentSession(msgspec.Struct, omit_defaults=True):
    """The agent's session for a thread, saved with the thread so that a later process can resume it.

    `last_message_id` is the last message of the thread that the agent has got, `cost` what the agent's whole session
    has cost so far, in dollars.
    """

    session_id: str
    last_message_id: str | None = None
    cost: float = 0.0

    def to_state(self) -> str:
        """Return the text that `from_state` reads."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_state(cls, state: str | None) -> "AgentSession | None":
        """Return the session that was saved; None if there is none, or if the text is not ours."""
        try:
            return msgspec.json.decode(state or "", type=cls)
        except ValueError:
            return None


async def open_session(connection: AcpConnection, turn: Turn) -> AgentSession:
    """Resume the session that the turn's thread has saved, if the agent can, or else make one; then set the model."""
    directory = str(turn.workspace.resolve())
    session = AgentSession.from_state(turn.saved_state)
    options = await _resume(connection, turn, directory, session) if session else None
    if session is None or options is None:
        made = await _new_session(connection, directory)
        session, options = AgentSession(made.session_id), made.config_options or []
    if turn.model:
        await _set_model(connection, turn.model, session.session_id, options, turn.log)
    return session


async def _new_session(connection: AcpConnection, directory: str) -> schema.NewSessionResponse:
    """Make a session, after signing in if the agent requires that."""
    try:
        return await connection.agent.new_session(cwd=directory)
    except RequestError as error:
        if error.code != AUTH_REQUIRED:
            raise
    await connection.sign_in()
    return await connection.agent.new_session(cwd=directory)


async def _resume(
    connection: AcpConnection, turn: Turn, directory: str, session: AgentSession
) -> Sequence[_Option] | None:
    """Resume a session and return its options; None if the agent cannot."""
    capabilities = connection.capabilities
    can_resume = bool(capabilities.session_capabilities and capabilities.session_capabilities.resume is not None)
    if not can_resume and not capabilities.load_session:
        return None
    resume: _Resume = connection.agent.resume_session if can_resume else connection.agent.load_session
    try:
        async with asyncio.timeout(RESUME_SECONDS):
            resumed = await resume(cwd=directory, session_id=session.session_id)
    except (RequestError, ValidationError, TimeoutError):
        turn.log("does not resume its earlier session; a new one gets the conversation as text")
        return None
    except OSError:
        await turn.save_state("")  # the agent died of it, and must not in the next turn too
        raise
    return resumed.config_options or []


async def _set_model(
    connection: AcpConnection, model: str, session_id: str, options: Sequence[_Option], log: Callable[[str], None]
) -> None:
    """Set the model by its value or its name; if the agent has no such option or refuses, its own choice stays."""
    for option in options:
        if isinstance(option, schema.SessionConfigOptionSelect) and "model" in (option.category, option.id):
            value = next((choice.value for choice in _choices(option) if model in (choice.value, choice.name)), model)
            if value == option.current_value:
                return
            try:
                await connection.agent.set_config_option(config_id=option.id, session_id=session_id, value=value)
            except RequestError:
                break
            return
    log(f"does not accept the model {model} and uses its own choice")


def _choices(option: schema.SessionConfigOptionSelect) -> Iterator[schema.SessionConfigSelectOption]:
    for choice in option.options:
        if isinstance(choice, schema.SessionConfigSelectGroup):
            yield from choice.options
        else:
            yield choice
