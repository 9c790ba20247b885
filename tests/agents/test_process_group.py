"""Process groups: a start that does not succeed leaves no process."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.agents.process_group import start


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[asyncio.subprocess.Process]:
    """Every process that is started, by asyncio itself."""
    started: list[asyncio.subprocess.Process] = []
    create: Callable[..., Any] = asyncio.create_subprocess_exec

    async def recording(*command: str, **options: Any) -> asyncio.subprocess.Process:
        started.append(await create(*command, **options))
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", recording)
    return started


async def test_a_start_that_is_cancelled_leaves_no_process(
    tmp_path: Path, processes: list[asyncio.subprocess.Process]
) -> None:
    starting = asyncio.create_task(start(["sleep", "600"], tmp_path, {"PATH": "/bin:/usr/bin"}, tmp_path / "records"))
    await asyncio.sleep(0)  # it is under way
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    [process] = processes
    assert process.returncode is not None
    assert list((tmp_path / "records").glob("*")) == []


async def test_a_process_that_cannot_be_recorded_is_killed(
    tmp_path: Path, processes: list[asyncio.subprocess.Process]
) -> None:
    (tmp_path / "records").write_text("in the way")
    with pytest.raises(FileExistsError):
        await start(["sleep", "600"], tmp_path, {"PATH": "/bin:/usr/bin"}, tmp_path / "records")
    [process] = processes
    assert process.returncode is not None
