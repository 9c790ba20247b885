"""Bubblewrap's arguments: the namespaces of a command, and the files that it sees.

A command sees the system's programs and libraries, what it needs of /etc, devices and processes of its own, and the
paths of its `View`, all at their usual places. Everything else is not there, and nothing but the view's writable paths,
/tmp and /dev/shm can be written to.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

SYSTEM = (Path("/usr"), Path("/nix"))
_LINKS_INTO_USR = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC = (
    *("passwd", "group", "nsswitch.conf", "hosts", "host.conf", "gai.conf", "resolv.conf", "services", "protocols"),
    *("ssl/certs", "ssl/cert.pem", "ssl/openssl.cnf", "ca-certificates", "crypto-policies", "ssh/ssh_known_hosts"),
    *("pki/tls/certs", "pki/tls/cert.pem", "pki/tls/openssl.cnf", "pki/ca-trust/extracted"),
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "timezone", "locale.conf"),
    *("os-release", "debian_version", "mime.types", "magic", "terminfo", "inputrc", "bash.bashrc", "profile", "shells"),
    *("profile.d", "python3", "python3.11", "python3.12", "python3.13", "perl", "java", "fonts"),
)
_NAMESPACES = (
    *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *("--cap-drop", "ALL", "--die-with-parent"),
)
NO_MORE_NAMESPACES = "--disable-userns"
"""Not everywhere possible: in a container /proc/sys may be read-only."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The absolute paths that a command sees beside the system's; those that do not exist are left out.

    Nothing is found below a `hidden` path, but `writable` and `readable` paths that are named themselves. A path below
    a writable one is whatever the commands make of it, and never named.
    """

    writable: Sequence[Path] = ()
    readable: Sequence[Path] = ()
    hidden: Sequence[Path] = ()
    contested: Sequence[Path] = ()
    """Directories of the view that agents may have replaced by links, which are then refused."""
    network: bool = True


def arguments(view: View, *, memory_files: int, extra: Sequence[str] = ()) -> list[str]:
    """Return bubblewrap's arguments; /tmp and /dev/shm hold `memory_files` bytes each."""
    size = ("--size", str(memory_files), "--perms", "1777", "--tmpfs")
    return [
        *_NAMESPACES,
        *extra,
        *(() if view.network else ("--unshare-net",)),
        *_system(),
        *("--proc", "/proc"),
        *("--dev", "/dev", *size, "/dev/shm", "--remount-ro", "/dev"),  # noqa: S108 - its own
        *(*size, "/tmp"),  # noqa: S108 - its own
        *_paths(view),
        # Root without capabilities may still write what belongs to root, such as /proc/sys/kernel/core_pattern.
        *("--remount-ro", "/proc", "--remount-ro", "/"),
    ]


def _system() -> Iterator[str]:
    for path in SYSTEM:
        yield from ("--ro-bind-try", str(path), str(path))
    for name in _LINKS_INTO_USR:
        path = Path("/", name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    for name in _ETC:
        path = Path("/etc", name)
        if (real := path.resolve()).exists():  # what is a link at /etc may lead to /run or /var
            yield from ("--ro-bind", str(real), str(path))


def _paths(view: View) -> Iterator[str]:
    """Yield the view's paths, each one after those above it."""
    kinds = dict.fromkeys(SYSTEM, "--ro-bind")
    kinds |= dict.fromkeys(view.readable, "--ro-bind") | dict.fromkeys(view.writable, "--bind")
    kinds |= dict.fromkeys(view.hidden, "--tmpfs")
    hidden = []
    for path in sorted(path for path in kinds if path.exists() and path not in SYSTEM):
        kind = kinds[path]
        around = next((kinds[parent] for parent in path.parents if parent in kinds), None)
        if kind != "--tmpfs":
            if around not in {"--bind", kind}:
                yield from (kind, str(path), str(path))
        elif around in {"--bind", "--ro-bind"}:
            hidden.append(path)
            yield from (kind, str(path)) if path.is_dir() else ("--ro-bind", os.devnull, str(path))
    for path in hidden:
        if path.is_dir():
            yield from ("--remount-ro", str(path))
