"""AG-UI agents over HTTP: one of another make, and servers that break the protocol in every way."""

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing

import msgspec
import pytest
import requests

from app.agents.agui import AguiAgent
from app.agents.port import AgentError
from app.agui.sse import MAX_EVENT_BYTES
from tests.support.agents.raw import HEAD, raw_server
from tests.support.agents.turns import checked, events_of, text_of, turn, types_of
from tests.support.deadline import eventually

pytestmark = pytest.mark.xdist_group("agui")
EVENT = b'{"type":"CUSTOM","name":"n","value":12345678901234567890}'


@pytest.fixture
async def agent(agui_server: str) -> AsyncIterator[AguiAgent]:
    agent = AguiAgent(f"{agui_server}/")
    yield agent
    await agent.close()


async def read(url: str) -> list[bytes]:
    agent = AguiAgent(url)
    try:
        async with aclosing(agent.run(turn("hello"))) as stream:
            return [event async for event in stream]
    finally:
        await agent.close()


class TestARealAgent:
    async def test_its_events_come_through_when_it_answers(self, agent: AguiAgent) -> None:
        events = await events_of(agent, turn("good day"))
        assert text_of(events).strip() == "echo: good day"
        assert types_of(events) == [
            "RUN_STARTED",
            "TEXT_MESSAGE_START",
            "TEXT_MESSAGE_CONTENT",
            "TEXT_MESSAGE_END",
            "RUN_FINISHED",
        ]
        assert (events[0]["threadId"], events[0]["runId"]) == ("thread-1", "run-1")

    async def test_a_tool_call_comes_through_whole_when_it_calls_one(self, agent: AguiAgent) -> None:
        events = await events_of(agent, turn("tool"))
        calls = [event for event in events if event["type"].startswith("TOOL_CALL")]
        assert types_of(calls) == ["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT"]
        assert calls[-1]["content"] == "12:00 in UTC"
        assert text_of(events) == "The tool says: 12:00 in UTC"

    async def test_its_own_error_comes_through_when_it_fails(self, agent: AguiAgent) -> None:
        events = await events_of(agent, turn("fail"))
        assert text_of(events) == "partial answer"
        assert (events[-1]["type"], events[-1]["message"]) == ("RUN_ERROR", "scripted failure")

    async def test_its_interrupt_comes_through_when_it_needs_approval(self, agent: AguiAgent) -> None:
        events = await events_of(agent, turn("delete a.txt"))
        assert events[-1]["outcome"]["type"] == "interrupt"
        assert events[-1]["outcome"]["interrupts"][0]["toolCallId"] == "tc1"

    async def test_it_knows_the_conversation_when_turns_follow_one_another(self, agent: AguiAgent) -> None:
        conversation: list[str | dict[str, str]] = [
            "one",
            {"id": "a1", "role": "assistant", "content": "echo: one"},
            "two",
        ]
        assert text_of(await events_of(agent, turn(*conversation))).strip() == "echo: two"
        assert text_of(await events_of(agent, turn(*conversation, "recall"))) == "one | two"

    async def test_it_stops_working_when_a_turn_is_cancelled(self, agent: AguiAgent, agui_server: str) -> None:
        def active() -> int:
            return int(requests.get(f"{agui_server}/active", timeout=10).text)

        ticking = asyncio.Event()

        async def watch() -> None:
            async with aclosing(agent.run(turn("slow 600"))) as stream:
                async for event in stream:
                    if checked(event)["type"] == "TEXT_MESSAGE_CONTENT":
                        ticking.set()

        task = asyncio.create_task(watch())
        await ticking.wait()
        assert await asyncio.to_thread(active) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(eventually, active, lambda count: count == 0)
        assert text_of(await events_of(agent, turn("again"))).strip() == "echo: again"


class TestTheRequest:
    async def test_the_whole_input_is_posted_when_a_turn_begins(self) -> None:
        async with raw_server(HEAD) as server:
            await read(server.url)
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /run HTTP/1.1")
        assert b"Accept: text/event-stream" in head
        assert b"Content-Type: application/json" in head
        assert msgspec.json.decode(body) == turn("hello").input

    async def test_no_proxy_is_used_when_the_environment_names_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        async with raw_server(HEAD, b"data: " + EVENT + b"\n\n") as server:
            assert await read(server.url) == [EVENT]

    async def test_no_cookie_is_sent_back_when_the_agent_sets_one(self) -> None:
        async with raw_server(HEAD.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b; Domain=127.0.0.1\r\n\r\n")) as server:
            agent = AguiAgent(server.url.replace("127.0.0.1", "localhost"))
            for _ in range(2):
                await events_of(agent, turn("hello"))
            await agent.close()
        assert len(server.requests) == 2
        assert b"cookie" not in server.requests[1].lower()


class TestTheResponse:
    async def test_bytes_are_untouched_when_an_event_is_unknown_or_oddly_written(self) -> None:
        odd = b'{ "type" : "NEW_THING", "n": 12345678901234567890, "x": 1.10, "s": "\\u00e9\xc3\xa9" }'
        async with raw_server(HEAD, b": hi\n\nid: 1\nevent: e\ndata: " + odd + b"\n\n") as server:
            assert await read(server.url) == [odd]

    async def test_events_are_read_when_lines_end_in_crlf_and_parts_split_anywhere(self) -> None:
        stream = HEAD + b"data: " + EVENT + b"\r\n\r\n" + b'data: {"type":\r\ndata: "X"}\r\n\r\n'
        async with raw_server(*(stream[i : i + 3] for i in range(0, len(stream), 3))) as server:
            assert await read(server.url) == [EVENT, b'{"type":\n"X"}']

    async def test_a_large_event_comes_through_when_within_the_limit(self) -> None:
        large = b'{"type":"CUSTOM","value":"' + b"x" * (MAX_EVENT_BYTES - 100) + b'"}'
        async with raw_server(HEAD, b"data: ", large, b"\n\n") as server:
            assert await read(server.url) == [large]

    async def test_the_iteration_ends_when_the_stream_ends_without_a_terminal_event(self) -> None:
        async with raw_server(HEAD, b"data: " + EVENT + b"\n\n") as server:
            assert await read(server.url) == [EVENT]

    async def test_the_last_event_counts_when_only_its_blank_line_is_missing(self) -> None:
        async with raw_server(HEAD, b"data: " + EVENT) as server:
            assert await read(server.url) == [EVENT]

    async def test_events_before_the_break_come_through_when_the_stream_breaks(self) -> None:
        seen = []
        async with raw_server(HEAD, b"data: " + EVENT + b"\n\ndata: " + EVENT[:20]) as server:
            agent = AguiAgent(server.url)
            with pytest.raises(AgentError):  # noqa: PT012 - the events before the error are the point
                async for event in agent.run(turn("hello")):
                    seen.append(event)  # noqa: PERF401 - a comprehension would lose them
            await agent.close()
        assert seen == [EVENT]

    async def test_the_connection_is_closed_when_the_reader_stops_early(self) -> None:
        async with raw_server(HEAD, b"data: " + EVENT + b"\n\n", hold=True) as server:
            agent = AguiAgent(server.url)
            async with aclosing(agent.run(turn("hello"))) as stream:
                assert await anext(stream) == EVENT
            await server.finished.wait()
            await agent.close()

    @pytest.mark.parametrize("response", [(), (b"HTTP/1.1 200 OK\r\n",), (HEAD,), (HEAD, b"data: {")])
    async def test_the_connection_is_closed_when_cancelled_while_the_agent_is_silent(
        self, response: tuple[bytes, ...]
    ) -> None:
        async with raw_server(*response, hold=True) as server:
            task = asyncio.create_task(read(server.url))
            await server.requested.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.finished.wait()


CHUNKED = HEAD.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
SIZED = HEAD.replace(b"\r\n\r\n", b"\r\nContent-Length: 999\r\n\r\n")
GZIP = HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
HTML = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 12\r\n\r\n<p>hello</p>"
REFUSED = "The agent refused the run with HTTP status {}."
BROKE = "The connection to the agent broke."
COMPRESSED = "The agent compressed its event stream, although it was asked not to."
NO_EVENT = "The agent sent something that is not an event, or only a part of one."


def status(code: int, *headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 %d Whatever" % code, *headers, b"Content-Length: 6", b"", b"secret"])


@pytest.mark.parametrize(
    ("response", "message"),
    [
        ((status(422),), REFUSED.format(422)),
        ((status(500, b"Content-Type: text/event-stream"),), REFUSED.format(500)),
        ((status(307, b"Location: http://127.0.0.1:1/"),), REFUSED.format(307).removesuffix(".") + ": it redirects."),
        ((HTML,), "The agent did not respond with an event stream."),
        ((b"HTTP/1.1 204 No Content\r\n\r\n",), "The agent did not respond with an event stream."),
        ((), BROKE),
        ((b"SSH-2.0-OpenSSH_9.2\r\n",), BROKE),
        ((b"\x00\xff" * 5000,), BROKE),
        ((b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,), BROKE),
        ((CHUNKED, b"5\r\ndata:"), BROKE),
        ((CHUNKED, b"zz\r\n"), BROKE),
        ((SIZED, b"data: " + EVENT + b"\n\n"), BROKE),
        (
            (GZIP, gzip.compress(b"data: " + EVENT + b"\n\n", mtime=0)),
            "The agent compressed its event stream, although it was asked not to.",
        ),
        ((HEAD, b"data: " + EVENT[:20]), NO_EVENT),
        ((HEAD, b"data: [1]\n\n"), NO_EVENT),
        ((HEAD, b"data: {}\n\n"), NO_EVENT),
        ((HEAD, b'data: {"type":7}\n\n'), NO_EVENT),
        ((HEAD, b'data: {"type":"A","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n\n"), NO_EVENT),
        ((HEAD, *[b"data: " + b"x" * 2**20 + b"\n"] * 17), "The agent sent an event that is too large."),
        ((HEAD, *[b"x" * 2**20] * 17), "The agent sent an event that is too large."),
    ],
)
async def test_clients_can_read_why_the_agent_broke_the_protocol(response: tuple[bytes, ...], message: str) -> None:
    async with raw_server(*response) as server:
        with pytest.raises(AgentError) as caught:
            await read(server.url)
    assert str(caught.value) == message


@pytest.mark.parametrize("data", [b"[DONE]", b"ping", b'"ping"', b"null", b"7", b": {}"])
async def test_what_is_no_object_is_passed_over_and_logged(data: bytes) -> None:
    lines: list[str] = []
    async with raw_server(HEAD, b"data: " + EVENT + b"\n\ndata: " + data + b"\n\ndata: " + EVENT + b"\n\n") as server:
        agent = AguiAgent(server.url)
        async with aclosing(agent.run(msgspec.structs.replace(turn("hello"), log=lines.append))) as stream:
            assert [event async for event in stream] == [EVENT, EVENT]
        await agent.close()
    assert lines == [f"sent something that is not an event: {data.decode()}"]


async def test_an_array_of_events_is_read() -> None:
    async with raw_server(HEAD, b"data: [" + EVENT + b"," + EVENT + b"]\n\n") as server:
        assert await read(server.url) == [EVENT, EVENT]


async def test_clients_can_read_that_nobody_listens() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(AgentError) as caught:
            await read(f"http://127.0.0.1:{closed.getsockname()[1]}/")
    assert str(caught.value) == "The agent could not be reached."


async def test_clients_can_read_that_no_connection_was_made_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.agents.agui.CONNECT_SECONDS", 0.05)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()), pytest.raises(AgentError) as caught:
            await read(f"http://127.0.0.1:{full.getsockname()[1]}/")
    assert str(caught.value) == "The agent could not be reached in time."


async def test_a_plain_http_server_cannot_be_reached_over_tls() -> None:
    async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        with pytest.raises(AgentError) as caught:
            await read(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert str(caught.value) == "The agent could not be reached."
    assert isinstance(caught.value.__cause__ and caught.value.__cause__.__cause__, ssl.SSLError)


@pytest.mark.parametrize(
    ("head", "body", "line"),
    [
        (b"422 No", b'{"detail":\n "no model"}', 'refused the run with HTTP status 422: {"detail": "no model"}'),
        (b"302 Found\r\nLocation: http://127.0.0.1:1/", b"", "it redirects to another address"),
        (b"200 OK\r\nContent-Type: text/html", b"<h1>Hi</h1>", "with text/html, not text/event-stream: <h1>Hi</h1>"),
        (b"500 No", b"x" * 5000, "x" * 1000),
        (b"500 No", b"\xff", "500: \ufffd"),
        (b"500 No\r\nContent-Encoding: gzip", gzip.compress(b"x" * 5000, mtime=0), "500: (compressed)"),
    ],
)
async def test_the_session_log_says_why_the_agent_refused(head: bytes, body: bytes, line: str) -> None:
    lines: list[str] = []
    async with raw_server(b"HTTP/1.1 " + head + b"\r\nConnection: close\r\n\r\n", body) as server:
        agent = AguiAgent(server.url)
        with pytest.raises(AgentError):
            async for _ in agent.run(msgspec.structs.replace(turn("hello"), log=lines.append)):
                pass
        await agent.close()
    assert line in lines[0]
    assert len(lines[0]) < 1100
