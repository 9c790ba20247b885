"""Processes that agents need: none is left of a start that does not come to its end."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.agents.process_group import start


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[asyncio.subprocess.Process]:
    """Every process that is started, by the real function."""
    made: list[asyncio.subprocess.Process] = []
    create: Callable[..., Any] = asyncio.create_subprocess_exec

    async def noted(*command: str, **options: Any) -> asyncio.subprocess.Process:
        made.append(await create(*command, **options))
        return made[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    return made


async def test_a_start_that_is_cancelled_leaves_nothing(
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


async def test_a_process_that_cannot_be_written_down_is_ended(
    tmp_path: Path, processes: list[asyncio.subprocess.Process]
) -> None:
    (tmp_path / "records").write_text("in the way")
    with pytest.raises(FileExistsError):
        await start(["sleep", "600"], tmp_path, {"PATH": "/bin:/usr/bin"}, tmp_path / "records")
    [process] = processes
    assert process.returncode is not None
