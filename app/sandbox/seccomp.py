"""System calls that are refused to the commands of a sandbox; also a part of the program of `init.py`.

They lead out of the namespaces, such as sockets to the host of a virtual machine, or are large parts of the kernel that
an agent does not need, as container engines refuse them too.
"""

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # of the classic Berkeley Packet Filter
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_NUMBER, _MACHINE, _FIRST_ARGUMENT = 0, 4, 16  # in the data that a filter looks at
_CLONE_NEWUSER = 0x10000000
_X32 = 0x40000000
_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, 16)
"""Address families of sockets that are allowed; 16 is netlink, by which programs list the network's interfaces."""


class _Calls(NamedTuple):
    """The numbers of a machine's system calls."""

    machine: int
    refused: tuple[int, ...]  # add_key, request_key, keyctl, perf_event_open, bpf, userfaultfd
    sockets: tuple[int, int]  # socket, socketpair
    namespaces: tuple[int, int]  # unshare, clone


_MACHINES = {
    "x86_64": _Calls(0xC000003E, (248, 249, 250, 298, 321, 323), (41, 53), (272, 56)),
    "aarch64": _Calls(0xC00000B7, (217, 218, 219, 241, 280, 282), (198, 199), (97, 220)),
}
_IO_URING = (425, 426, 427)  # which opens sockets too
_CLONE3 = 435  # whose arguments a filter does not see


def refuse_system_calls() -> None:
    """Refuse them to this process and all that it starts, for good."""
    filters = program()
    if not filters:
        return
    buffer = ctypes.create_string_buffer(filters)
    whole = struct.pack("HxxxxxxQ", len(filters) // 8, ctypes.addressof(buffer))
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, whole, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no seccomp")


def program() -> bytes:
    """Return the filter as the kernel takes it, empty on a machine whose system calls are not known here."""
    calls = _MACHINES.get(os.uname().machine)
    return b"".join(_program(calls)) if calls else b""


def _program(calls: _Calls) -> Iterator[bytes]:
    yield _step(_LOAD, _MACHINE)
    yield from _unless(_EQUAL, calls.machine, errno.ENOSYS)
    yield _step(_LOAD, _NUMBER)
    yield from _if(_AT_LEAST, _X32, errno.ENOSYS)
    yield from _if(_EQUAL, _CLONE3, errno.ENOSYS)
    for number in (*calls.refused, *_IO_URING):
        yield from _if(_EQUAL, number, errno.EPERM)
    for number in calls.namespaces:
        checks = [_step(_LOAD, _FIRST_ARGUMENT), *_if(_ANY_BIT, _CLONE_NEWUSER, errno.EPERM), _step(_RETURN, _ALLOW)]
        yield _step(_EQUAL, number, 0, len(checks))
        yield from checks
    for number in calls.sockets:
        families = [_step(_EQUAL, family, len(_FAMILIES) - index) for index, family in enumerate(_FAMILIES)]
        checks = [_step(_LOAD, _FIRST_ARGUMENT), *families, _fail(errno.EAFNOSUPPORT), _step(_RETURN, _ALLOW)]
        yield _step(_EQUAL, number, 0, len(checks))
        yield from checks
    yield _step(_RETURN, _ALLOW)


def _if(test: int, value: int, error: int) -> tuple[bytes, bytes]:
    return _step(test, value, 0, 1), _fail(error)


def _unless(test: int, value: int, error: int) -> tuple[bytes, bytes]:
    return _step(test, value, 1, 0), _fail(error)


def _fail(error: int) -> bytes:
    return _step(_RETURN, _ERROR | error)


def _step(code: int, value: int, if_so: int = 0, if_not: int = 0) -> bytes:
    """Return one instruction; the last two are how many instructions to skip."""
    return struct.pack("HBBI", code, if_so, if_not, value)
