"""An AG-UI agent behind HTTP: each turn is one POST whose answer is a stream of events."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from http import HTTPStatus

import aiohttp
import msgspec

from app.agents.port import Agent, AgentError, Turn
from app.agents.sse import Decoder, EventTooLarge

CONNECT_SECONDS = 10.0


class _Event(msgspec.Struct):
    type: str


_event = msgspec.json.Decoder(_Event)


class AguiAgent(Agent):
    """Speaks AG-UI 0.1 and 1.0 to `url` (http or https)."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http: aiohttp.ClientSession | None = None

    async def run(self, turn: Turn) -> AsyncGenerator[bytes, None]:
        """Send the turn, yield each event as it was written; a stream that just ends is no error here."""
        decoder = Decoder()
        with _agent_errors():
            response = await self._session().post(
                self._url,
                data=msgspec.json.encode(turn.input),
                headers={
                    "Content-Type": "application/json",
                    "Accept": "text/event-stream",
                    "Accept-Encoding": "identity",
                },
                allow_redirects=False,
            )
            try:
                _check_head(response)
                async for chunk in response.content.iter_any():
                    for data in decoder.feed(chunk):
                        yield _checked(data)
                for data in decoder.finish():
                    yield _checked(data)
            finally:
                response.close()

    async def close(self) -> None:
        """Close the connections to the agent."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                # A turn may think for long; the engine limits how long.
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS),
            )
        return self._http


def _check_head(response: aiohttp.ClientResponse) -> None:
    if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
        raise AgentError(f"The agent refused the run with HTTP status {response.status}.")
    if response.content_type != "text/event-stream":
        raise AgentError("The agent did not answer with an event stream.")


def _checked(data: bytes) -> bytes:
    """Events are stored as they are and read by others: only sound JSON gets through."""
    try:
        data.decode()
        _event.decode(data)
    except (ValueError, RecursionError) as error:
        raise AgentError("The agent sent something that is not an event, or only a part of one.") from error
    return data


@contextmanager
def _agent_errors() -> Iterator[None]:
    try:
        yield
    except EventTooLarge as error:
        raise AgentError("The agent sent an event that is too large.") from error
    except aiohttp.ConnectionTimeoutError as error:
        raise AgentError("The agent could not be reached in time.") from error
    except aiohttp.ClientConnectorError as error:
        raise AgentError("The agent could not be reached.") from error
    except (aiohttp.ClientError, OSError) as error:
        raise AgentError("The connection to the agent broke.") from error
