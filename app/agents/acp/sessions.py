"""The agent's own sessions, one for each thread: resumed if the agent can, made anew if not."""

import asyncio
import re
from collections.abc import Awaitable, Callable

import msgspec
from acp import RequestError, schema
from pydantic import ValidationError

from app.agents.acp.choices import SessionChoices
from app.agents.acp.connection import AcpConnection
from app.agents.acp.sign_in import AUTH_REQUIRED
from app.agents.port import Turn

RESUME_SECONDS = 30.0

_Resume = Callable[..., Awaitable[schema.ResumeSessionResponse | schema.LoadSessionResponse]]


class AgentSession(msgspec.Struct, omit_defaults=True):
    """The agent's session for a thread, saved with the thread so that a later process can resume it.

    `last_message_id` is the last message of the thread that the agent has got, `cost` what the agent's whole session
    has cost so far, in dollars.
    """

    session_id: str
    last_message_id: str | None = None
    cost: float = 0.0
    is_resumed: bool = False
    """Whether it was resumed by this process, and no prompt has shown yet that the agent knows it."""

    def to_state(self) -> str:
        """Return the text that `from_state` reads."""
        return msgspec.json.encode(msgspec.structs.replace(self, is_resumed=False)).decode()

    async def prompted(self, prompting: "asyncio.Task[schema.PromptResponse]") -> schema.PromptResponse:
        """Return the response to a prompt in this session; raise `SessionLost` if the agent does not know it."""
        try:
            return await prompting
        except RequestError as error:
            if self.is_resumed and is_lost(error):
                raise SessionLost from error
            raise
        finally:
            self.is_resumed = False

    @classmethod
    def from_state(cls, state: str | None) -> "AgentSession | None":
        """Return the session that was saved; None if there is none, or if the text is not ours."""
        try:
            return msgspec.json.decode(state or "", type=cls)
        except ValueError:
            return None


class SessionLost(Exception):
    """The agent has resumed a session, and does not know it when it gets a prompt."""


_LOST = re.compile(r"not found|no such|unknown|unsupported|not supported|expired|does not exist|invalid", re.IGNORECASE)
_NOT_FOUND = -32002


def is_lost(error: RequestError) -> bool:
    """Return whether an agent's error says that it does not know the session."""
    text = f"{error} {error.data}"
    return error.code == _NOT_FOUND or ("session" in text.lower() and bool(_LOST.search(text)))


async def open_session(connection: AcpConnection, turn: Turn) -> tuple[AgentSession, SessionChoices]:
    """Resume the session that the turn's thread has saved, if the agent can, or else make one."""
    directory = str(turn.workspace.absolute())
    session = AgentSession.from_state(turn.saved_state)
    choices = await _resume(connection, turn, directory, session) if session else None
    if session is None or choices is None:
        made = await _new_session(connection, directory)
        session, choices = AgentSession(made.session_id), SessionChoices(made)
    return session, choices


async def _new_session(connection: AcpConnection, directory: str) -> schema.NewSessionResponse:
    """Make a session, after signing in if the agent requires that."""
    try:
        return await connection.new_session(directory)
    except RequestError as error:
        if error.code != AUTH_REQUIRED:
            raise
    await connection.sign_in()
    return await connection.new_session(directory)


async def _resume(
    connection: AcpConnection, turn: Turn, directory: str, session: AgentSession
) -> SessionChoices | None:
    """Resume a session and return its choices; None if the agent cannot."""
    capabilities = connection.capabilities
    ways: list[_Resume] = []
    if capabilities.session_capabilities and capabilities.session_capabilities.resume is not None:
        ways.append(connection.agent.resume_session)
    if capabilities.load_session:
        ways.append(connection.agent.load_session)
    for resume in ways:
        try:
            async with asyncio.timeout(RESUME_SECONDS):
                resumed = await resume(cwd=directory, session_id=session.session_id)
        except (RequestError, ValidationError, TimeoutError):
            continue
        except OSError:
            await turn.save_state("")  # the agent died of it, and must not in the next turn too
            raise
        session.is_resumed = True
        return SessionChoices(resumed)
    if ways:
        turn.log("does not resume its earlier session; a new one gets the conversation as text")
    return None
