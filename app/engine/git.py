"""Git as a way in: which URLs and branches are let through, and one clone, hemmed in on every side."""

import asyncio
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from app.agents.process_group import kill_group, start_leader

MAX_URL = 2048
MAX_BRANCH = 255
_STDERR_BYTES = 8192
_PASSED_ON = (
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "SSH_AUTH_SOCK"),
)
_SIZE_CHECK_SECONDS = 1.0

_SCP_LIKE = re.compile(r"[A-Za-z0-9][\w.-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[^-:].*", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*|[0-9a-f:.]+", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff]")
# The rules of `git check-ref-format --branch`, and besides no lone "@" and no lone surrogates.
_NO_BRANCH = re.compile(
    r"^-|^/|^@$|^HEAD$|/$|//|\.$|\.\.|(^|/)\.|\.lock(/|$)|@\{|[\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]"
)
_REASON = re.compile(r"^(fatal|ssh): |: Permission denied|^Host key verification failed")
# What may hold a secret or tell of a machine: quoted values, URLs, paths, addresses, host names.
_UNSAFE_IN_REASON = re.compile(r"(?<!\w)'[^']*'?|\S*[/@]\S*|\S*\w\.\w\S*|\S*:\S*:\S*")


class CloneFailed(Exception):
    """A clone came to nothing; the message is a reason, fit for a client to read."""


class Limits(msgspec.Struct, frozen=True):
    """What cloning may take: seconds for all repositories of a workspace, bytes on disk for each."""

    seconds: float = 600.0
    bytes: int = 4 * 1024**3


LIMITS = Limits()


def scheme_of(url: str) -> str | None:
    """Return the protocol that git would use for a well-formed URL, None for anything else."""
    if len(url) > MAX_URL or _UNPRINTABLE.search(url) or _UNPRINTABLE.search(unquote(url).replace(" ", "")):
        return None
    if "://" not in url:
        return "ssh" if _SCP_LIKE.fullmatch(url) else None
    try:
        parts = urlsplit(url)
        host, user, port = parts.hostname or "", unquote(parts.username or ""), parts.port
    except ValueError:
        return None
    # Git ends the user's part at the first "@", others at the last.
    if not url.startswith(f"{parts.scheme}://") or user.startswith("-") or port == 0 or parts.netloc.count("@") > 1:
        return None
    if parts.scheme == "file":
        return "file" if not parts.netloc and parts.path.startswith("/") else None
    return parts.scheme if _HOST.fullmatch(host) and parts.path.strip("/") else None


def is_branch(name: str) -> bool:
    """Whether git takes this as the name of a branch or tag."""
    return 0 < len(name) <= MAX_BRANCH and not _NO_BRANCH.search(name)


def name_of(url: str) -> str:
    """Return a directory name for a repository: the last part of its path, in plain characters."""
    path = urlsplit(url).path if "://" in url else url.partition(":")[2]
    last = unquote(path).rstrip("/").rpartition("/")[2].removesuffix(".git")
    return re.sub(r"[^A-Za-z0-9._-]", "-", last)[:100].strip(".-") or "repo"


async def clone(
    url: str,
    branch: str | None,
    target: Path,
    *,
    protocols: Sequence[str],
    max_bytes: int,
    tell: Callable[[str], None] = lambda _text: None,
) -> None:
    """Clone the tip of one branch into `target`, which must not exist; raise CloneFailed. `tell` takes what git says.

    Cancelling ends git's whole process group. The caller has checked `url` and `branch`, limits the time, and removes
    what a failed clone leaves behind.
    """
    process = await _start(url, branch, target, protocols)
    work = asyncio.create_task(_finish(process))
    watch = asyncio.create_task(_until_larger(target, max_bytes))
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
    tell(stderr.decode("utf-8", "replace"))
    if status != 0:
        raise CloneFailed(reason(stderr, url))


async def _start(url: str, branch: str | None, target: Path, protocols: Sequence[str]) -> asyncio.subprocess.Process:
    try:
        return await start_leader(
            *_command(url, branch, target),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            cwd="/",  # never inside a repository, whose configuration git would read
            env=_environment(protocols),
        )
    except FileNotFoundError as error:
        raise CloneFailed("git is not installed here") from error


def _command(url: str, branch: str | None, target: Path) -> Iterator[str]:
    yield from ("git", "-c", "core.hooksPath=/dev/null", "clone", "--quiet", "--template=", "--no-recurse-submodules")
    yield from ("--depth=1", "--single-branch", "--no-tags")
    if branch:
        yield f"--branch={branch}"
    yield from ("--", url, str(target.absolute()))


def reason(stderr: bytes, url: str) -> str:
    """Return what git or ssh first says of a failure, without URLs, addresses, paths, quoted values or secrets."""
    lines = stderr.decode("utf-8", "replace").splitlines()
    first = next(filter(_REASON.search, lines), "").removeprefix("fatal: ").rstrip(".")
    cleaned = " ".join(_UNSAFE_IN_REASON.sub("…", "".join(filter(str.isprintable, first))).split())[:200]
    if not cleaned.strip("… ") or any(secret in cleaned for secret in _secrets(url)):
        return "git gave no reason"
    return cleaned


def _secrets(url: str) -> set[str]:
    """The password of a URL; without one the user, who is a token then, but for ssh."""
    parts = urlsplit(url)
    secret = parts.password or (parts.username if parts.scheme != "ssh" else None)
    return {secret, unquote(secret)} if secret else set()


def _environment(protocols: Sequence[str]) -> dict[str, str]:
    """What leads out of this machine, and nothing else of this service's own.

    No configuration, no stored credentials, no prompt, no other protocol.
    """
    return {
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "HOME": "/dev/null",  # a path below which nothing can be: no .gitconfig, no .netrc
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
    """Wait for the end; return the exit status and the last of what was written to standard error."""
    assert process.stderr is not None  # noqa: S101 - it was asked for as a pipe
    tail = b""
    while chunk := await process.stderr.read(_STDERR_BYTES):
        tail = (tail + chunk)[-_STDERR_BYTES:]
    return await process.wait(), tail


async def _until_larger(path: Path, limit: int) -> None:
    while await asyncio.to_thread(_size, path) <= limit:  # noqa: ASYNC110 - nothing tells when a directory grows
        await asyncio.sleep(_SIZE_CHECK_SECONDS)


def _size(path: Path) -> int:
    """Bytes on disk below `path`, which changes while it is read."""
    total = 0
    for directory, _, files in os.walk(path):
        for name in files:
            with suppress(OSError):
                total += (Path(directory) / name).lstat().st_blocks * 512
    return total
