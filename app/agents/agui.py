"""An agent that speaks AG-UI over HTTP: a turn is one POST, whose response is a stream of server-sent events."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus

import aiohttp
import msgspec

from app.agents.attachments import with_contents
from app.agents.port import Agent, AgentError, Turn
from app.agui.lenient import UNREADABLE
from app.agui.sse import Decoder, EventTooLarge
from app.agui.whole_text import decode_leniently

CONNECT_SECONDS = 10.0
BODY_SECONDS = 2.0
MAX_BODY = 1000  # bytes of a refusal that the session log shows


class _Event(msgspec.Struct):
    type: str


MAX_LOGGED_FRAMES = 10
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_event = msgspec.json.Decoder(_Event).decode


class AguiAgent(Agent):
    """Speaks AG-UI 0.1 and 1.0 to `url` (http or https), without proxies, redirects and cookies."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http: aiohttp.ClientSession | None = None

    async def run(self, turn: Turn) -> AsyncGenerator[bytes, None]:
        """Post the turn's input, with the content of attached files, and yield the data of each event, unchanged.

        A stream may end without a terminal event; the engine supplies one.
        """
        decoder, reader = Decoder(), _Reader(turn.log)
        run_input = await with_contents(turn)
        with _agent_errors():
            response = await self._session().post(
                self._url,
                data=msgspec.json.encode(run_input),
                headers={
                    "Content-Type": "application/json",
                    "Accept": "text/event-stream",
                    "Accept-Encoding": "identity",
                },
                allow_redirects=False,
            )
            try:
                await _check_head(response, turn.log)
                async for chunk in response.content.iter_any():
                    for data in decoder.feed(chunk):
                        for event in reader.events(data):
                            yield event
                for data in decoder.finish():
                    for event in reader.events(data):
                        yield event
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
                auto_decompress=False,  # a small compressed stream could be a huge one
                # No limit on the turn: the agent may be silent for long, and the engine has a limit of its own.
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS),
            )
        return self._http


async def _check_head(response: aiohttp.ClientResponse, log: Callable[[str], None]) -> None:
    """Raise `AgentError` unless the response is an event stream; `log` gets what the agent says about it."""
    if HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST:
        log(f"refused the run: it redirects to another address, which is not followed ({response.status})")
        raise AgentError(f"The agent refused the run with HTTP status {response.status}: it redirects.")
    if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
        log(f"refused the run with HTTP status {response.status}: {await _start_of_body(response)}")
        raise AgentError(f"The agent refused the run with HTTP status {response.status}.")
    if response.content_type != "text/event-stream":
        log(f"responded with {response.content_type}, not text/event-stream: {await _start_of_body(response)}")
        raise AgentError("The agent did not respond with an event stream.")
    if _is_compressed(response):
        raise AgentError("The agent compressed its event stream, although it was asked not to.")


async def _start_of_body(response: aiohttp.ClientResponse) -> str:
    """Return the first of a body on one line; empty if it cannot be read in time."""
    if _is_compressed(response):
        return "(compressed)"
    body = b""
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(BODY_SECONDS):
            while len(body) < MAX_BODY and (chunk := await response.content.read(MAX_BODY)):
                body += chunk
    return " ".join(body[:MAX_BODY].decode(errors="replace").split())


def _is_compressed(response: aiohttp.ClientResponse) -> bool:
    return response.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}


class _Reader:
    """The events in the data of frames; `log` gets a line for each of the first frames without one."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._logged = 0

    def events(self, data: bytes) -> Iterator[bytes]:
        """Yield the event of a frame, or those in its array.

        Anything but an object, such as `[DONE]` or a ping, is passed over; raise `AgentError` for an object that is
        not an event, or only a part of one.
        """
        if data.lstrip().startswith(b"{"):
            yield _require_event(data)
            return
        with suppress(*UNREADABLE):
            yield from (_require_event(bytes(event)) for event in _decode_array(data))
            return
        if self._logged < MAX_LOGGED_FRAMES:
            self._logged += 1
            self._log(f"sent something that is not an event: {data[:MAX_BODY].decode(errors='replace')}")


def _require_event(data: bytes) -> bytes:
    """Return `data`; raise `AgentError` unless it is a JSON object with a type."""
    with suppress(*UNREADABLE):
        _decode_event(data)
        return data
    with suppress(*UNREADABLE):
        event = decode_leniently(data)
        if isinstance(event, dict) and isinstance(event.get("type"), str):
            return data
    raise AgentError("The agent sent something that is not an event, or only a part of one.")


@contextmanager
def _agent_errors() -> Iterator[None]:
    """Raise what goes wrong on the connection as an `AgentError`."""
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
