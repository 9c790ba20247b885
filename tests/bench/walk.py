"""Count how far a reader walks to follow one request: `python -m tests.bench.walk [--files | --calls] [NAME …]`.

The application is called in this process, with the embedded backend and the demo agent. A profiler notes each call of a
function in `app/` or `handlers/`, in all threads, from the request until its response is complete. A *move* is a call
into another file than the call before it; a *return* is a move to a file that was visited before.
"""

import argparse
import asyncio
import statistics
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FrameType
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message

from app.agents import demo
from app.factory import create_app
from app.models.caller import Role
from app.settings import Settings
from app.store.keys import AccessKeys
from tests.support.contract import Response, Sent, call, lifespan, settings
from tests.support.server import ROOT

ROUNDS = 15  # how far the agent's first steps overlap differs
FRAMES = 12  # events that the resumed stream sends again
COLUMNS = ("files", "functions", "calls", "moves", "returns")


@dataclass(frozen=True)
class Walk:
    """The calls of one request, in order, as pairs of file and function."""

    steps: list[tuple[str, str]]

    @cached_property
    def visits(self) -> Counter[str]:
        """Each file with the number of moves into it, in the order of the first."""
        files = ["", *(file for file, _ in self.steps)]
        return Counter(file for previous, file in pairwise(files) if file != previous)

    @property
    def figures(self) -> tuple[int, ...]:
        """The numbers that COLUMNS names."""
        moves = self.visits.total() - 1
        files = len(self.visits)
        return files, len(set(self.steps)), len(self.steps), moves, moves - (files - 1)


class Recorder:
    """A profiler that notes the calls of the project's functions between `start` and `stop`."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, str]] | None = None
        self._names: dict[CodeType, tuple[str, str] | None] = {}

    def install(self) -> None:
        """Watch this thread and those that start later."""
        sys.setprofile(self._profile)
        threading.setprofile(self._profile)

    def start(self) -> list[tuple[str, str]]:
        """Return a new list, to which calls are added from now on."""
        steps: list[tuple[str, str]] = []
        self._steps = steps
        return steps

    def stop(self) -> None:
        """Note no more calls."""
        self._steps = None

    def _profile(self, frame: FrameType, event: str, _argument: Any) -> None:
        steps = self._steps
        if steps is None or event != "call":
            return
        code = frame.f_code
        if code not in self._names:
            self._names[code] = _name(code)
        if name := self._names[code]:
            steps.append(name)


def _name(code: CodeType) -> tuple[str, str] | None:
    path = Path(code.co_filename)
    if not path.is_relative_to(ROOT):
        return None
    file = path.relative_to(ROOT)
    return (str(file), code.co_qualname) if file.parts[0] in {"app", "handlers"} else None


class Arrived:
    """A connection over which the whole request has come already, as it mostly has."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.request_complete = True


@dataclass
class Server:
    """The application with one session that has nothing to do."""

    app: ASGIApp
    recorder: Recorder
    headers: tuple[tuple[str, str], ...]
    session_id: str = ""

    async def send(self, method: str, path: str, body: Any = None) -> Response:
        """Send a request that has to succeed."""
        answer = await call(self.app, self._sent(method, path, body))
        assert answer.status < 300, answer
        return answer

    async def walk(self, method: str, path: str = "", body: Any = None, *, after: int | None = None) -> Walk:
        """Send a request to the session and note the calls until the response, or FRAMES of its stream, is sent."""
        sent = self._sent(method, f"/v1/sessions/{self.session_id}{path}", body, after)
        parts = [{"type": "http.request", "body": sent.body, "more_body": False}]
        frames = 0
        complete = asyncio.Event()

        async def receive() -> Message:
            if parts:
                return parts.pop()
            await complete.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            nonlocal frames
            if message["type"] == "http.response.start":
                assert message["status"] < 300, message
                return
            frames += message.get("body", b"").count(b"\ndata: ")
            if not message.get("more_body") or frames == FRAMES:
                self.recorder.stop()
                complete.set()

        steps = self.recorder.start()
        await self.app(sent.scope() | {"state": {"connection": Arrived()}}, receive, send)
        return Walk(steps)

    def _sent(self, method: str, path: str, body: Any = None, after: int | None = None) -> Sent:
        headers = self.headers
        if after is not None:
            headers = (*headers, ("Last-Event-ID", str(after)))
        if body is None:
            return Sent(method, path, headers)
        return Sent(method, path, (*headers, ("Content-Type", "application/json")), msgspec.json.encode(body))

    async def idle(self) -> int:
        """Wait until no run is active; the position of the log's last event."""
        while True:
            runs = (await self.send("GET", f"/v1/sessions/{self.session_id}/runs")).json()["runs"]
            if runs and all(run["status"] in {"completed", "error"} for run in runs):
                return sum(run["event_count"] for run in runs)
            await asyncio.sleep(0.02)


async def get_session(server: Server) -> Walk:
    """Walk GET session."""
    return await server.walk("GET")


async def post_message(server: Server) -> Walk:
    """Walk POST message, until the 202."""
    walk = await server.walk("POST", "/message", {"content": "hello"})
    await server.idle()
    return walk


async def get_output(server: Server) -> Walk:
    """Walk GET output, the transcript of one run."""
    return await server.walk("GET", "/output")


async def resume_stream(server: Server) -> Walk:
    """Walk the resumption of an event stream, until FRAMES events are sent."""
    return await server.walk("GET", "/events", after=await server.idle() - FRAMES)


WALKS: dict[str, Callable[[Server], Awaitable[Walk]]] = {
    "GET session": get_session,
    "POST message": post_message,
    "GET output": get_output,
    "SSE resume": resume_stream,
}


async def measure(chosen: Settings, recorder: Recorder) -> dict[str, Walk]:
    """For each of WALKS the one with the median number of returns, of ROUNDS that follow a first."""
    app = create_app(chosen)
    async with lifespan(app):
        assert chosen.store
        with AccessKeys.open(chosen.store) as keys:
            _, key = keys.create(project="demo", role=Role.EDIT, name="walk", expires=None)
        server = Server(app, recorder, (("Authorization", f"Bearer {key}"),))
        found = {}
        for name, walk in WALKS.items():
            server.session_id = (await server.send("POST", "/v1/sessions", {"task": "hello"})).json()["id"]
            await server.idle()
            walks = [await walk(server) for _ in range(ROUNDS + 1)][1:]
            middle = statistics.median_low(walk.figures[-1] for walk in walks)
            found[name] = next(walk for walk in walks if walk.figures[-1] == middle)
        return found


def main() -> None:
    """Print a table of the walks and, with an option, their files or calls."""
    parser = argparse.ArgumentParser(description="Count how far a reader walks to follow one request.")
    parser.add_argument("name", nargs="*", help=f"part of a name: {', '.join(WALKS)}")
    parser.add_argument("--files", action="store_true", help="list the files in order, with the visits to each")
    parser.add_argument("--calls", action="store_true", help="list every call in order")
    options = parser.parse_args()
    recorder = Recorder()
    recorder.install()
    demo.WORD_SECONDS = 0
    with TemporaryDirectory() as directory:
        walks = asyncio.run(measure(settings(Path(directory)), recorder))
    if options.name:
        walks = {
            name: walk for name, walk in walks.items() if any(part.lower() in name.lower() for part in options.name)
        }
    sys.stdout.writelines(f"{line}\n" for line in lines(walks, files=options.files, calls=options.calls))


def lines(walks: Mapping[str, Walk], *, files: bool, calls: bool) -> Iterator[str]:
    """Yield a table of the walks, then the files or the calls of each."""
    yield " ".join([" " * 14, *(f"{column:>9}" for column in COLUMNS)])
    for name, walk in walks.items():
        yield " ".join([f"{name:14}", *(f"{figure:9}" for figure in walk.figures)])
    for name, walk in walks.items():
        if files:
            yield from ("", name, *(f"  {visits:3}  {file}" for file, visits in walk.visits.items()))
        if calls:
            yield from ("", name, *(f"  {file}: {function}" for file, function in walk.steps))


if __name__ == "__main__":
    main()
