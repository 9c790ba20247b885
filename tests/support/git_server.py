"""A web server for git repositories that asks for a password, by git's own program for that."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path


class GitServer:
    """Serves the repositories below `root` to one user; `on_request` is called for each request, in a thread."""

    def __init__(self, root: Path, user: str, password: str, on_request: Callable[[], None]) -> None:
        self._root = root
        self._authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._on_request = on_request
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one request and close the connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        await asyncio.to_thread(self._on_request)
        if headers.get("authorization") == self._authorization:
            method, target, _ = head[0].split()
            answer = await self._run(method, target, headers, body)
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + answer)
        else:
            writer.write(
                b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
        await writer.drain()
        writer.close()

    async def _run(self, method: str, target: str, headers: dict[str, str], body: bytes) -> bytes:
        path, _, query = target.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self._root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": headers.get("git-protocol", ""),
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": method,
            "REMOTE_USER": "ada",
            "CONTENT_TYPE": headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
        }
        process = await asyncio.create_subprocess_exec(
            *("git", "http-backend"), env=environment, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        return (await process.communicate(body))[0]


@asynccontextmanager
async def git_server(
    root: Path, *, user: str, password: str, on_request: Callable[[], None] = lambda: None
) -> AsyncIterator[GitServer]:
    """Run a server on a free port of this machine."""
    server = GitServer(root, user, password, on_request)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        server.port = listening.sockets[0].getsockname()[1]
        yield server
