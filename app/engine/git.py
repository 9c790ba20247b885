"""Run `git clone` in a restricted environment: no configuration, credentials or prompts, and bounded size.

Users choose what is cloned, so git and the server that it talks to are not trusted. The process gets only the
environment variables it needs to reach other hosts, leads a process group that is killed as a whole, and is watched
for the size of what it writes. Its error output may hold secrets and internal addresses: the session's owner reads it
in the session log, and `reason` makes one safe sentence of it for everybody else.
"""

import asyncio
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from app.agents.process_group import kill_group, start_leader

_STDERR_BYTES = 8192
_FORWARDED = (
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "SSH_AUTH_SOCK"),
)
_SIZE_CHECK_SECONDS = 1.0
_SHALLOW = ("--depth=1", "--no-tags", "--no-recurse-submodules")
_IS_REF = re.compile(r"^refs/|^[0-9a-f]{40}$|^[0-9a-f]{64}$")  # which `git clone` does not take for a branch

_REASON = re.compile(r"^(fatal|ssh): |: Permission denied|^Host key verification failed")
# Parts that may hold a secret or identify a machine: quoted values, and words of URLs, paths, addresses, host names.
_QUOTED = re.compile(r"(?<!\w)'[^']*'?")
_UNSAFE_IN_WORD = re.compile(r"[/@]|\w\.\w|:[^:]*:")


class CloneFailed(Exception):
    """A clone that failed; the message is a reason that is safe to show to clients."""


class Limits(msgspec.Struct, frozen=True):
    """Limits on cloning: `seconds` for all repositories of a workspace, `bytes` on disk for each."""

    seconds: float = 600.0
    bytes: int = 4 * 1024**3


LIMITS = Limits()


async def clone(
    url: str,
    branch: str | None,
    target: Path,
    *,
    protocols: Sequence[str],
    max_bytes: int,
    log: Callable[[str], None] = lambda _text: None,
) -> None:
    """Clone the tip of one branch into `target`, which must not exist, and pass git's error output to `log`.

    `branch` is a branch, a tag, a full ref or a commit id; None for the default branch. Cancelling kills git's whole
    process group. The caller has checked `url` and `branch`, limits the time, and removes the remains of a failed
    clone. `CloneFailed`, also for a clone without a commit of a repository that has some.
    """

    async def run(*command: str) -> None:
        await _run(command, url, target, protocols=protocols, max_bytes=max_bytes, log=log)

    directory = _absolute(target)
    if branch and _IS_REF.search(branch):
        await run("init", "--quiet", "--template=", "--", directory)
        await run("-C", directory, "fetch", "--quiet", *_SHALLOW, "--", url, branch)
        await run("-C", directory, "remote", "add", "--", "origin", url)
        await run("-C", directory, "checkout", "--quiet", "--detach", "FETCH_HEAD")
        return
    chosen = [f"--branch={branch}"] if branch else []
    try:
        await run("clone", "--quiet", "--template=", "--single-branch", *_SHALLOW, *chosen, "--", url, directory)
    except CloneFailed as error:
        raise CloneFailed(str(error).replace("Remote branch …", f"Remote branch {branch}")) from error
    if not branch and not await asyncio.to_thread(_has_commit, target):
        await _require_empty(url, protocols)


async def _run(
    command: Sequence[str],
    url: str,
    target: Path,
    *,
    protocols: Sequence[str],
    max_bytes: int,
    log: Callable[[str], None],
) -> None:
    """Run a git command that writes below `target`; `CloneFailed`."""
    process = await _start(command, protocols)
    work = asyncio.create_task(_finish(process))
    watch = asyncio.create_task(_wait_until_larger(target, max_bytes))
    try:
        await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done() or await asyncio.to_thread(_size, target) > max_bytes:
            raise CloneFailed("it is too large")
    finally:
        watch.cancel()
        if not work.done():
            await kill_group(process)
        await asyncio.wait({work, watch})
    status, stderr = work.result()
    log(stderr.decode("utf-8", "replace"))
    if status != 0:
        raise CloneFailed(reason(stderr, url))


async def _require_empty(url: str, protocols: Sequence[str]) -> None:
    """Raise `CloneFailed` if a repository whose clone has no commit has some: its default branch does not exist."""
    process = await _start(("ls-remote", "--heads", "--", url), protocols, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None  # noqa: S101 - started with a pipe
        has_branches = bool(await process.stdout.read(1))
    finally:
        await kill_group(process)
    if has_branches:
        raise CloneFailed("its default branch does not exist; name a branch that does")


async def _start(
    command: Sequence[str], protocols: Sequence[str], *, stdout: int = asyncio.subprocess.DEVNULL
) -> asyncio.subprocess.Process:
    try:
        return await start_leader(
            *("git", "-c", "core.hooksPath=/dev/null", *command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE,
            cwd="/",  # never inside a repository, whose configuration git would read
            env=_environment(protocols),
        )
    except FileNotFoundError as error:
        raise CloneFailed("git is not installed here") from error


def _absolute(path: Path) -> str:
    return str(path.absolute())  # git does not run in our working directory


def _has_commit(repository: Path) -> bool:
    """Return whether the HEAD of a new clone is a commit."""
    directory = repository / ".git"
    ref = (directory / "HEAD").read_text().partition("ref: ")[2].strip()
    packed = directory / "packed-refs"
    return not ref or (directory / ref).exists() or (packed.exists() and f" {ref}\n" in packed.read_text())


def reason(stderr: bytes, url: str) -> str:
    """Return the first reason that git or ssh gives, without URLs, addresses, paths, quoted values or secrets."""
    lines = stderr.decode("utf-8", "replace").splitlines()
    first = next(filter(_REASON.search, lines), "").removeprefix("fatal: ").rstrip(".")
    words = _QUOTED.sub("…", "".join(filter(str.isprintable, first))).split()
    cleaned = " ".join("…" if _UNSAFE_IN_WORD.search(word) else word for word in words)[:200]
    if not cleaned.strip("… ") or any(secret in cleaned for secret in _secrets(url)):
        return "git gave no reason"
    return cleaned


def _secrets(url: str) -> set[str]:
    """Return a URL's password, as written and decoded; without one the user, a token then, except for ssh."""
    parts = urlsplit(url)
    secret = parts.password or (parts.username if parts.scheme != "ssh" else None)
    return {secret, unquote(secret)} if secret else set()


def _environment(protocols: Sequence[str]) -> dict[str, str]:
    """Return the variables that git gets: those needed to reach other hosts, and none of this service's own.

    No configuration, no stored credentials, no prompt, no other protocol.
    """
    return {
        **{name: os.environ[name] for name in _FORWARDED if name in os.environ},
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "HOME": "/dev/null",  # nothing can be below it: no .gitconfig, no .netrc
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": ":".join(protocols),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "SSH_ASKPASS": "true",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_SSH_VARIANT": "ssh",
        # A shared connection's master would outlive the clone and hold its pipes open.
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=30 -oForwardAgent=no -oControlPath=none",
    }


async def _finish(process: asyncio.subprocess.Process) -> tuple[int, bytes]:
    """Wait for the end; return the exit status and the last bytes of standard error."""
    assert process.stderr is not None  # noqa: S101 - started with a pipe
    tail = b""
    while chunk := await process.stderr.read(_STDERR_BYTES):
        tail = (tail + chunk)[-_STDERR_BYTES:]
    return await process.wait(), tail


async def _wait_until_larger(path: Path, limit: int) -> None:
    while await asyncio.to_thread(_size, path) <= limit:  # noqa: ASYNC110 - a directory's growth has no event
        await asyncio.sleep(_SIZE_CHECK_SECONDS)


def _size(path: Path) -> int:
    """Return the bytes on disk below `path`, whose files may change or vanish meanwhile."""
    total = 0
    for directory, _, files in os.walk(path):
        for name in files:
            with suppress(OSError):
                total += (Path(directory) / name).lstat().st_blocks * 512
    return total
