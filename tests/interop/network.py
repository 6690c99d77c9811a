"""A network of the tests' own, from which nothing leads out."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import frozen

#: <sched.h>; `os.unshare` comes with Python 3.12.
_CLONE_NEWNET: Final = 0x40000000

#: LiveKit's SDKs and aiortc leave loopback addresses out, so the namespace has another one.
_ADDRESS: Final = "10.99.0.1"
_SET_UP: Final = (
    "link set lo up",
    "link add rpc0 type veth peer name rpc1",
    f"address add {_ADDRESS}/24 dev rpc0",
    "link set rpc0 up",
    "link set rpc1 up",
)


@frozen
class Network:
    """The network of the server.

    Attributes:
        address: What everybody in the test reaches the server by.
        isolated: Whether the network is one of our own, which no packet can leave.
    """

    address: str
    isolated: bool


@contextmanager
def network() -> Iterator[Network]:
    """Move this thread, and the processes that it starts, to a network namespace of their own.

    The namespace ends with the last process in it, also when the tests are killed. Without the
    right to make one, or without `ip`, the tests run on loopback.
    """
    if shutil.which("ip") is None:
        yield Network("127.0.0.1", isolated=False)
        return
    with Path("/proc/self/ns/net").open() as outside:
        try:
            _enter(_CLONE_NEWNET)
        except PermissionError:
            yield Network("127.0.0.1", isolated=False)
            return
        try:
            for command in _SET_UP:
                subprocess.run(["ip", *command.split()], check=True)
            yield Network(_ADDRESS, isolated=True)
        finally:
            _enter(_CLONE_NEWNET, outside.fileno())


def _enter(kind: int, file: int | None = None) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.unshare(kind) if file is None else libc.setns(file, kind)
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
