"""Run `git clone` in a restricted environment: no configuration, credentials or prompts of its own, and bounded size.

Users choose what is cloned, so git and the server that it talks to are not trusted. The process gets only the
environment variables it needs to reach other hosts, runs in the sandbox with all of its children, and is watched for
the size of what it writes. Its error output may hold secrets and internal addresses: the session's owner reads it
in the session log, and `reason` makes one safe sentence of it for everybody else.
"""

import asyncio
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE
from urllib.parse import unquote, urlsplit

import msgspec

from app.disk_usage import TooDeep, disk_usage
from app.errors import NotSupported, RemoteMoved
from app.git.access import AccessRefused, GitAccess, Remote, prepare
from app.git.process import Git
from app.sandbox.bubblewrap import View
from app.sandbox.children import Child, kill_group
from app.sandbox.sandbox import Sandbox

_STDERR_BYTES = 8192
_FORWARDED = (
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO"),
)
_NAMES_OF_FILES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "SSH_AUTH_SOCK")
_SIZE_CHECK_SECONDS = 1.0
_SHALLOW = ("--depth=1", "--no-tags", "--no-recurse-submodules")
_IS_REF = re.compile(r"^refs/|^[0-9a-f]{40}$|^[0-9a-f]{64}$")  # which `git clone` does not take for a branch

_REDIRECT = re.compile(rb"^fatal: .* error: 30[1278]$", re.MULTILINE)
_PUSH_SECONDS = 300.0
_PUSH = ("push", "--porcelain", "--no-verify", "--no-signed", "--recurse-submodules=no")
_DIVERGED = re.compile(rb"^!\t.*\[rejected\] \((fetch first|non-fast-forward|stale info|already exists)", re.MULTILINE)
_REFUSED = re.compile(rb"^!\t.*\[remote rejected\] \(([A-Za-z -]{1,60})\)", re.MULTILINE)
_MOVED = "its URL leads to another one, often with .git at its end; use that one"
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
    access: GitAccess,
    max_bytes: int,
    log: Callable[[str], None] = lambda _text: None,
) -> None:
    """Clone the tip of one branch into `target`, which must not exist, and pass git's error output to `log`.

    `branch` is a branch, a tag, a full ref or a commit id; None for the default branch. Cancelling kills git's whole
    process group. The caller has checked `url` and `branch`, limits the time, and removes the remains of a failed
    clone. `CloneFailed`, also for a clone without a commit of a repository that has some.
    """

    try:
        remote = await prepare(url, access)
    except AccessRefused as error:
        raise CloneFailed(str(error)) from error
    git = _git(remote, access, Path(_absolute(target)).parent)

    async def run(*command: str) -> None:
        await _run(git, command, url, target, max_bytes=max_bytes, log=log)

    directory = _absolute(target)
    if branch and _IS_REF.search(branch):
        await run("init", "--quiet", "--template=", "--", directory)
        await run("-C", directory, "fetch", "--quiet", *_SHALLOW, "--", remote.url, branch)
        await run("-C", directory, "remote", "add", "--", "origin", remote.url)
        await run("-C", directory, "checkout", "--quiet", "--detach", "FETCH_HEAD")
        return
    chosen = [f"--branch={branch}"] if branch else []
    try:
        await run("clone", "--quiet", "--template=", "--single-branch", *_SHALLOW, *chosen, "--", remote.url, directory)
    except CloneFailed as error:
        raise CloneFailed(str(error).replace("Remote branch …", f"Remote branch {branch}")) from error
    if not branch and not await asyncio.to_thread(_has_commit, target):
        await _require_empty(git, remote.url)


async def push_branch(
    url: str, commit: str, branch: str, *, access: GitAccess, repository: Path, objects: Path
) -> None:
    """Push a commit of a repository of the server's to a branch, never by force.

    `objects` are the objects that the repository has from another one. A repository of this host has its own hooks run,
    as for any push, but in the sandbox and without a network. `RemoteMoved` if the branch has other commits,
    `CloneFailed`.
    """
    try:
        remote = await prepare(url, access)
    except AccessRefused as error:
        raise CloneFailed(str(error)) from error
    own = {"GIT_DIR": str(repository), "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects)}
    remote = msgspec.structs.replace(remote, environment={**remote.environment, **own})
    git = _git(remote, access, repository, readable=[objects], writes_remote=True)
    process = await _start(git, *_PUSH, "--", remote.url, f"{commit}:refs/heads/{branch}", stdout=PIPE)
    try:
        async with asyncio.timeout(_PUSH_SECONDS):
            stdout, stderr = await process.communicate()
    except TimeoutError as error:
        raise CloneFailed("it took too long") from error
    finally:
        if process.returncode is None:
            await kill_group(process)
    if process.returncode:
        if _DIVERGED.search(stdout):
            raise RemoteMoved
        if refused := _REFUSED.search(stdout):
            raise CloneFailed(f"the repository refused it ({refused[1].decode('ascii', 'replace')})")
        raise CloneFailed(_MOVED if _REDIRECT.search(stderr) else reason(stderr, url))


def _git(
    remote: Remote, access: GitAccess, directory: Path, *, readable: Sequence[Path] = (), writes_remote: bool = False
) -> Git:
    """Return git for one remote repository, with a directory that it may write to.

    `writes_remote` says whether a repository of this host, if it is one, may be written to.
    """
    environment = {**_environment(access), **remote.environment}
    files = [Path(environment[name]) for name in _NAMES_OF_FILES if name in environment]
    if "GIT_SSH_COMMAND" in remote.environment:
        files += [path for path in (access.ssh_key, access.known_hosts) if path]
    local = _local_paths(remote, access.sandbox)
    view = View(
        writable=[directory, *(local if writes_remote else ())],
        readable=[*files, *readable, *local],
        network=not local,
    )
    return Git(
        view=view,
        sandbox=access.sandbox,
        protocols=access.protocols,
        configuration=remote.configuration,
        environment=environment,
    )


def _local_paths(remote: Remote, sandbox: Sandbox) -> list[Path]:
    """Return the paths of a repository of this host, if it is one, but none that the sandbox hides."""
    if (parts := urlsplit(remote.url)).scheme != "file":
        return []
    path = Path(unquote(parts.path))
    repository = [path, path.with_name(f"{path.name}.git")] if path.name else []
    return [each for each in repository if not sandbox.hides(each)]


async def _start(git: Git, *command: str, stdout: int = DEVNULL) -> Child:
    """Start git; `CloneFailed`."""
    try:
        return await git.start(*command, stdout=stdout)
    except NotSupported as error:
        raise CloneFailed("git is not installed here") from error
    except OSError as error:
        raise CloneFailed("git cannot be run here") from error


async def _run(
    git: Git,
    command: Sequence[str],
    url: str,
    target: Path,
    *,
    max_bytes: int,
    log: Callable[[str], None],
) -> None:
    """Run a git command that writes below `target`; `CloneFailed`."""
    process = await _start(git, *command)
    work = asyncio.create_task(_finish(process))
    watch = asyncio.create_task(_wait_until_larger(target, max_bytes))
    try:
        await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done() or await asyncio.to_thread(_is_larger, target, max_bytes):
            raise CloneFailed("it is too large")
    finally:
        watch.cancel()
        if not work.done():
            await kill_group(process)
        await asyncio.wait({work, watch})
    status, stderr = work.result()
    log(stderr.decode("utf-8", "replace"))
    if status != 0:
        raise CloneFailed(_MOVED if _REDIRECT.search(stderr) else reason(stderr, url))


async def _require_empty(git: Git, url: str) -> None:
    """Raise `CloneFailed` if a repository whose clone has no commit has some: its default branch does not exist."""
    process = await _start(git, "ls-remote", "--heads", "--", url, stdout=PIPE)
    try:
        assert process.stdout is not None  # noqa: S101 - started with a pipe
        has_branches = bool(await process.stdout.read(1))
    finally:
        await kill_group(process)
    if has_branches:
        raise CloneFailed("its default branch does not exist; name a branch that does")


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


def _environment(access: GitAccess) -> dict[str, str]:
    """Return the variables that git needs to reach other hosts.

    An SSH agent only where a key is named, which is then the only one that it may use.
    """
    names = (*_FORWARDED, "SSH_AUTH_SOCK") if access.ssh_key else _FORWARDED
    return {name: os.environ[name] for name in names if name in os.environ}


async def _finish(process: Child) -> tuple[int, bytes]:
    """Wait for the end; return the exit status and the last bytes of standard error."""
    assert process.stderr is not None  # noqa: S101 - started with a pipe
    tail = b""
    while chunk := await process.stderr.read(_STDERR_BYTES):
        tail = (tail + chunk)[-_STDERR_BYTES:]
    return await process.wait(), tail


async def _wait_until_larger(path: Path, limit: int) -> None:
    while not await asyncio.to_thread(_is_larger, path, limit):  # noqa: ASYNC110 - a directory's growth has no event
        await asyncio.sleep(_SIZE_CHECK_SECONDS)


def _is_larger(path: Path, limit: int) -> bool:
    try:
        return disk_usage(path) > limit
    except TooDeep:
        return True
