"""A process that serves one embedded backend until it is killed: `python -m tests.support.crashing DIRECTORY STORE`.

It makes a session whose task ticks for ever, two more runs in its queue, and says so on standard output; then it
repeats on standard output how many events of the task it has read.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from app.agents.port import Turn
from app.observability import logs
from tests.support.scripted import STARTED, event, open_backend


async def ticking(_turn: Turn) -> AsyncIterator[bytes]:
    """A text that never ends."""
    yield STARTED
    yield event("TEXT_MESSAGE_START", messageId="m", role="assistant")
    tick = 0
    while True:
        yield event("TEXT_MESSAGE_CONTENT", messageId="m", delta=f"{tick} ")
        tick += 1
        await asyncio.sleep(0.001)


async def main(directory: Path, store: str) -> None:
    """Serve until killed."""
    logs.configure("error")
    async with open_backend(directory, ticking, store=store) as harness:
        session_id = await harness.create()
        [task] = await harness.runs(session_id)
        await harness.active(session_id, task.run_id, at_least=2)
        queued = [await harness.say(session_id, f"queued {n}") for n in range(2)]
        print(session_id, task.run_id, *queued, flush=True)  # noqa: T201  what the test reads
        while True:
            print(len(await harness.log(session_id)), flush=True)  # noqa: T201  what the test reads


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
