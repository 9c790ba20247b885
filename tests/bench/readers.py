"""Readers of one session's event stream in their own process: `python -m tests.bench.readers PORT TARGET COUNT`.

The Authorization header is the first line of standard input. The process prints "open" when every stream is open,
"reached" when each has received an event, and reads until it is killed.
"""

import asyncio
import resource
import sys

from tests.support.server import LOCALHOST

AT_ONCE = 50  # connections that are being opened


async def main(port: int, target: str, count: int) -> None:
    """Open the streams, then read all of them."""
    bearer = sys.stdin.readline().strip()
    request = f"GET {target} HTTP/1.1\r\nHost: {LOCALHOST}\r\nAuthorization: {bearer}\r\n\r\n".encode()
    gate = asyncio.Semaphore(AT_ONCE)

    async def opened() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with gate:
            reader, writer = await asyncio.open_connection(LOCALHOST, port)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            return reader, writer

    async def read(reader: asyncio.StreamReader) -> None:
        while b"data:" not in await reader.readline():
            assert not reader.at_eof(), "the stream ended"
        reached.release()
        while await reader.read(1 << 16):
            pass

    reached = asyncio.Semaphore(0)
    streams = await asyncio.gather(*(opened() for _ in range(count)))
    print("open", flush=True)  # noqa: T201 - what the benchmark waits for
    async with asyncio.TaskGroup() as group:
        for reader, _ in streams:
            group.create_task(read(reader))
        for _ in streams:
            await reached.acquire()
        print("reached", flush=True)  # noqa: T201 - what the benchmark waits for


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
