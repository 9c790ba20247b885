"""Bare repositories of the server's, for files that they do not contain."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from subprocess import PIPE

import msgspec

from app.git.process import Git, GitFailed
from app.sandbox.children import kill_group

_CHUNK = 65_536
_CONFIGURATION = (
    *("core.untrackedCache=false", "core.attributesFile=/dev/null", "core.excludesFile=/dev/null"),
    *("core.autocrlf=false", "core.fileMode=true", "core.symlinks=true", "core.protectNTFS=false"),
    *("core.looseCompression=1", "pack.compression=1", "fastimport.unpackLimit=1"),
    *("advice.addEmbeddedRepo=false", "diff.renameLimit=2000"),
)


class Repository(msgspec.Struct, frozen=True):
    """A bare repository of the server's; `git` sees it, and the files that it is for."""

    directory: Path
    git: Git
    objects: Path | None = None
    """The objects of another repository, which can be read too."""

    async def make(self, attributes: str) -> None:
        """Make the repository unless it is there. `attributes` go before those of any file of the workspace."""
        if await asyncio.to_thread((self.directory / "complete").exists):
            return
        await asyncio.to_thread(self.directory.parent.mkdir, mode=0o700, parents=True, exist_ok=True)
        await self.run("init", "--quiet", "--bare", "--template=", "--object-format=sha1", "--", str(self.directory))
        await asyncio.to_thread(self._complete, attributes)

    def _complete(self, attributes: str) -> None:
        (self.directory / "info").mkdir(exist_ok=True)
        (self.directory / "info" / "attributes").write_text(attributes)
        (self.directory / "complete").touch()

    async def run(
        self,
        *command: str,
        input: bytes = b"",  # noqa: A002 - as subprocess has it
        succeeds: Sequence[int] = (0,),
        environment: Mapping[str, str] | None = None,
        **options: Path,
    ) -> bytes:
        """Run a command and return its standard output; `options` are `work_tree` and `index`. See `Git.run`."""
        environment = {**self._variables(command, options), **(environment or {})}
        return await self._configured.run(*command, environment=environment, input=input, succeeds=succeeds)

    async def stream(self, *command: str, **options: Path) -> AsyncGenerator[bytes, None]:
        """Run a command and yield its standard output while it is written; at least one chunk. Raises as `run`."""
        process = await self._configured.start(*command, environment=self._variables(command, options), stdout=PIPE)
        assert process.stdout is not None  # noqa: S101 - started with pipes
        assert process.stderr is not None  # noqa: S101
        errors = asyncio.create_task(_read_end(process.stderr))
        try:
            chunk = await process.stdout.read(_CHUNK)
            while following := await process.stdout.read(_CHUNK):
                yield chunk
                chunk = following
            if await process.wait():
                raise GitFailed(command[0], await errors)
            yield chunk
        finally:
            if process.returncode is None:
                await kill_group(process)
            await errors

    @property
    def _configured(self) -> Git:
        return msgspec.structs.replace(self.git, configuration=(*self.git.configuration, *_CONFIGURATION))

    def _variables(self, command: Sequence[str], options: Mapping[str, Path]) -> dict[str, str]:
        names = {"work_tree": "GIT_WORK_TREE", "index": "GIT_INDEX_FILE"}
        variables = {names[name]: str(value) for name, value in options.items()}
        if command[0] != "init":
            variables["GIT_DIR"] = str(self.directory)
        if self.objects:
            variables["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = str(self.objects)
        return variables


async def _read_end(stream: asyncio.StreamReader) -> bytes:
    """Read to the end, and return the last bytes."""
    tail = b""
    while chunk := await stream.read(_CHUNK):
        tail = (tail + chunk)[-_CHUNK:]
    return tail
