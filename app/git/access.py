"""Which hosts git may reach, and with which credentials: passwords, and the SSH key of a clone.

A repository's host is resolved here, once. If one of its addresses is not public, the host is refused unless it is
listed, and git connects to no other address than those that were checked: a second look-up could give another answer.
A password is handed to git by a credential helper, so that no command line and no file has it.
"""

import asyncio
import ipaddress
import shlex
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

import msgspec

from app.git.names import scheme_of
from app.sandbox.sandbox import NO_SANDBOX, Sandbox
from app.urls import without_credentials

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_PORTS = {"https": 443, "http": 80, "ssh": 22, "git": 9418}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # an IPv6 address that a gateway turns into the IPv4 address in it
_USER, _PASSWORD = "REPOSITORY_USER", "REPOSITORY_PASSWORD"
_HELPER = f'!f() {{ test "$1" = get && printf "username=%s\\npassword=%s\\n" "${_USER}" "${_PASSWORD}"; }}; f'
_SSH = (
    *("ssh", "-F", "none"),  # no configuration of the server's user
    *("-oBatchMode=yes", "-oConnectTimeout=30", "-oForwardAgent=no", "-oPreferredAuthentications=publickey"),
    *("-oIdentitiesOnly=yes", "-oStrictHostKeyChecking=yes", "-oUpdateHostKeys=no", "-oGlobalKnownHostsFile=/dev/null"),
    "-oControlPath=none",  # a shared connection's master would outlive the clone and hold its pipes open
)


class AccessRefused(Exception):
    """A repository that git may not reach; the message is a reason that is safe to show to clients."""


class GitAccess(msgspec.Struct, frozen=True):
    """The hosts that git may reach, its credentials, and its confinement.

    * `protocols` are those by which repositories may be cloned.
    * `hosts` are names, addresses and networks that may be reached although they are not public.
    * `ssh_key` is the one identity for SSH, the private key or, with an SSH agent, the public one; None for no SSH.
    * `known_hosts` has the keys of SSH servers; a server that it does not list is refused.
    * `sandbox` confines git.
    """

    protocols: Sequence[str] = ("https", "ssh")
    hosts: Sequence[str] = ()
    ssh_key: Path | None = None
    known_hosts: Path | None = None
    sandbox: Sandbox = NO_SANDBOX

    def lists(self, host: str, address: _Address) -> bool:
        """Return whether a host is listed by its name, or by this address of it."""
        for listed in self.hosts:
            if listed.lower() == host:
                return True
            with suppress(ValueError):
                if address in ipaddress.ip_network(listed, strict=False):
                    return True
        return False


class Remote(msgspec.Struct, frozen=True):
    """How git reaches one repository: a URL without secrets, configuration, and environment variables."""

    url: str
    configuration: Sequence[str] = ()  # as the option `-c` takes it: `name=value`
    environment: dict[str, str] = {}


async def prepare(url: str, access: GitAccess) -> Remote:
    """Return how to reach a repository. Raises `AccessRefused`."""
    if "://" not in url:
        if scheme_of(url) != "ssh":
            return Remote(url)
        host = url.partition(":")[0].rpartition("@")[2].lower()
        return Remote(url, environment=await _ssh(host, _PORTS["ssh"], access))
    parts = urlsplit(url)
    if parts.scheme not in _PORTS:
        return Remote(url)
    host, port, clean = parts.hostname or "", parts.port or _PORTS[parts.scheme], without_credentials(url)
    if host.endswith("."):
        raise AccessRefused("the name of its host ends with a dot")
    if parts.scheme == "ssh":
        return Remote(clean, environment=await _ssh(host, port, access))
    addresses = await _addresses(parts.scheme, host, port, access)
    if parts.scheme == "git":
        return Remote(clean, [f"url.git://{_in_url(addresses[0])}:{port}/.insteadOf=git://{parts.netloc}/"])
    return _http(url, host, port, addresses)


def _http(url: str, host: str, port: int, addresses: Sequence[_Address]) -> Remote:
    # A redirect could lead to any host, and so could the alternates of a plain file server, which depend on it too.
    configuration = ["http.followRedirects=false"]
    if addresses:
        configuration.append(f"http.curloptResolve={host}:{port}:{','.join(map(_in_url, addresses))}")
    parts, clean = urlsplit(url), without_credentials(url)
    if clean == url:
        return Remote(url, configuration)
    configuration.append(f"credential.{parts.scheme}://{urlsplit(clean).netloc}.helper={_HELPER}")
    credentials = {_USER: unquote(parts.username or ""), _PASSWORD: unquote(parts.password or "")}
    return Remote(clean, configuration, credentials)


async def _ssh(host: str, port: int, access: GitAccess) -> dict[str, str]:
    if access.ssh_key is None:
        raise AccessRefused("SSH is not set up here; the operator can name a key in GIT_SSH_KEY_FILE")
    addresses = await _addresses("ssh", host, port, access)
    known_as = host if port == _PORTS["ssh"] else f"[{host}]:{port}"
    command = [
        *_SSH,
        *("-i", str(access.ssh_key)),
        f'-oUserKnownHostsFile="{access.known_hosts or "/dev/null"}"',
        f"-oHostName={addresses[0]}",
        f"-oHostKeyAlias={known_as}",
    ]
    return {"GIT_SSH_COMMAND": shlex.join(command)}


async def _addresses(scheme: str, host: str, port: int, access: GitAccess) -> list[_Address]:
    """Return the addresses of a host, all of which may be reached. Raises `AccessRefused`.

    There are none if only a proxy can tell them; which hosts it reaches is its own decision then.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        if scheme.startswith("http") and scheme in getproxies():
            return []
        raise AccessRefused("its host is not known") from error
    addresses = list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))
    if not all(is_public(address) or access.lists(host, address) for address in addresses):
        raise AccessRefused("its host is not public; the operator can list it in GIT_HOSTS")
    return addresses


def is_public(address: _Address) -> bool:
    """Return whether an address is one of the Internet, also if it is IPv4 within IPv6."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast


def _in_url(address: _Address) -> str:
    return f"[{address}]" if address.version == 6 else str(address)  # noqa: PLR2004
