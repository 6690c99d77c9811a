"""The counts of what strace has written."""

from __future__ import annotations

import shutil
import sys

import pytest

from . import turns
from .contestants import CONTESTANTS
from .processes import ProcessFailedError

OF_TRIO = """\
17 epoll_wait(4, [{events=EPOLLIN, data={u32=9, u64=9}}], 2, 884) = 1
17 recvfrom(9, "\\3\\0\\0\\1, 0) = 7"..., 262144, 0, NULL, NULL) = 277
17 recvfrom(9, 0x55ef6d2c2870, 262144, 0, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)
17 epoll_ctl(4, EPOLL_CTL_MOD, 9, {events=EPOLLIN|EPOLLONESHOT, data={u32=9, u64=9}}) = 0
17 epoll_wait(4, [], 2, 0)            = 0
17 getrandom("\\x37\\xeb\\x02\\x06", 4, 0) = 4
17 sendto(9, "\\3\\0\\0\\0\\252"..., 175, 0, NULL, 0) = 175
17 epoll_wait(4,  <unfinished ...>
18 futex(0x7f0c, FUTEX_WAKE_PRIVATE, 1) = 1
17 <... epoll_wait resumed>[], 2, 5)  = 0
17 --- SIGCHLD {si_signo=SIGCHLD} ---
17 +++ exited with 0 +++
""".splitlines()
OF_UVLOOP = [
    "5 epoll_pwait(3, [{events=EPOLLIN, data=0x8}], 1024, -1, NULL, 8) = 1",
    "5 epoll_pwait(3, [], 1024, 0, NULL, 8) = 0",
]


def test_polls_are_turns_and_those_with_a_timeout_are_waits() -> None:
    traced = turns.parse(OF_TRIO)
    assert (traced.turns, traced.waits, traced.in_vain) == (3, 2, 1)
    assert traced.calls["futex"] == 1
    traced = turns.parse(OF_UVLOOP)
    assert (traced.turns, traced.waits) == (2, 1)


def test_a_row_has_the_numbers_of_one_call() -> None:
    traced = {"server": turns.parse(OF_TRIO * 30), "callee": turns.parse(OF_UVLOOP)}
    assert list(turns.rows("ours", traced, 30)) == [
        ["ours: server", "3", "2", "2", "1", "1", "1 futex, 1 getrandom, 1 of the reads in vain"],
        ["ours: callee", "0", "0", "0", "0", "0", "-"],
    ]


@pytest.mark.thorough
@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("strace") is None, reason="takes strace"
)
def test_a_contestant_is_traced() -> None:
    try:
        traced, calls = turns.measure("tcp-trio")
    except ProcessFailedError as error:
        pytest.skip(str(error))
    (*_, row) = turns.rows(CONTESTANTS["tcp-trio"].title, traced, calls)
    assert row[:3] == ["trio_rpc, stream link over TCP, trio: caller", "3", "1"]
