"""Calls on a livekit-server while the network of one of the two participants fails.

    python -m tests.interop.cuts [--write] [--kind KIND ...]

One participant is in a network of its own, which a virtual cable joins to that of the server and of
the other one, a participant of LiveKit's Python SDK. Its signalling goes through a proxy. It takes
root's rights, on Linux, and half a minute for each row; `nox -s cuts` has what else it needs.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from attrs import frozen

from ..support.tokens import make_token
from .livekit_server import serving_livekit
from .network import network
from .program import Call, Failure, Peer, Program, running
from .programs import command_of
from .table import replace_section

#: Seconds between two calls in each direction, of calls before the fault, and after it.
INTERVAL: Final = 0.1
LEAD: Final = 2.0
TAIL: Final = 8.0
#: Seconds that a call may take.
RESPONSE_TIMEOUT: Final = 10.0

#: Whose network fails.
KINDS: Final = ("trio", "asyncio", "python")
_SDK: Final = "LiveKit's SDK"
_TITLES: Final = {"trio": "ours, trio", "asyncio": "ours, asyncio", "python": _SDK}

_ADDRESS: Final = "10.99.0.2/24"
#: What drops what comes in. A rule comes before that of the local addresses only if that is moved.
_MAKE_ROOM: Final = ("rule add pref 10 lookup local", "rule del pref 0")
_DROP: Final = "rule {} pref 5 iif {} ipproto udp blackhole"


@frozen
class Fault:
    """A failure of the network.

    Attributes:
        what: The failure, for people.
        seconds: Its length.
        signalling: Whether connections are cut and refused.
        udp: Whether UDP is dropped, both ways.
    """

    what: str
    seconds: float
    signalling: bool
    udp: bool


FAULTS: Final = (
    Fault("signalling cut, and refused for 5 s", 5.0, signalling=True, udp=False),
    Fault("the same, and UDP dropped", 5.0, signalling=True, udp=True),
    Fault("UDP alone dropped for 5 s", 5.0, signalling=False, udp=True),
    Fault("signalling cut, and refused for 12 s", 12.0, signalling=True, udp=False),
)


@frozen
class Site:
    """The participant whose network fails, and its cable."""

    program: Program

    def connect(self) -> None:
        """Lay the cable to its network, once it has that."""
        theirs = Path(f"/proc/{self.program.pid}/ns/net")
        while theirs.readlink() == Path("/proc/thread-self/ns/net").readlink():
            time.sleep(0.01)
        _ip(f"link set rpc1 netns {self.program.pid}")
        for command in ("link set lo up", f"address add {_ADDRESS} dev rpc1", "link set rpc1 up"):
            self._ip(command)
        for command in _MAKE_ROOM:
            _ip(command)
            self._ip(command)

    def drop_udp(self, drop: bool) -> None:
        """Drop what comes in by UDP at either end of the cable, or do so no more."""
        do = "add" if drop else "del"
        _ip(_DROP.format(do, "rpc0"))
        self._ip(_DROP.format(do, "rpc1"))

    def _ip(self, command: str) -> None:
        inside = ["nsenter", "--net", "--target", str(self.program.pid)]
        subprocess.run([*inside, "ip", *command.split()], check=True)


def _ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


def measure(fault: Fault, kind: str, logs: Path) -> list[str]:
    """Return the cells of a row: the outcomes of the calls from the participant and to it."""
    with ExitStack() as stack:
        own = stack.enter_context(network())
        if not own.isolated:
            sys.exit("it takes the right to make a network namespace: run it as root")
        server = stack.enter_context(serving_livekit(own.address, logs / "server"))
        module = [sys.executable, "-m", f"{__package__}.peers.proxy", server.url, own.address]
        proxy = stack.enter_context(running("proxy", module, logs / "proxy"))
        url = proxy.event("proxy", event="listens")["url"]
        far = Peer(
            stack.enter_context(running("python", command_of("python"), logs / "far")), "far"
        )
        command = ["unshare", "--net", *command_of(kind)]
        near = Peer(stack.enter_context(running(kind, command, logs / "near")), "near")
        site = Site(near.program)
        site.connect()
        far.join(server.url, make_token("far"))
        near.join(url, make_token("near"))
        near.wait_for("sees", who="far")
        far.wait_for("sees", who="near")
        calls = _call_steadily(fault, site, proxy, near, far)
        return [cell for each in calls for cell in _cells(each)]


def _call_steadily(
    fault: Fault, site: Site, proxy: Program, near: Peer, far: Peer
) -> tuple[list[Call], list[Call]]:
    begun = time.monotonic()
    ends = LEAD + fault.seconds
    failing = False
    calls: tuple[list[Call], list[Call]] = ([], [])
    for number in range(int((ends + TAIL) / INTERVAL)):
        due = number * INTERVAL
        time.sleep(max(0.0, begun + due - time.monotonic()))
        if failing != (LEAD <= due < ends):
            failing = not failing
            if fault.udp:
                site.drop_udp(failing)
            if fault.signalling:
                proxy.answer(proxy.send("proxy", "refuse" if failing else "forward"))
        for caller, callee, made in ((near, far, calls[0]), (far, near, calls[1])):
            made.append(
                caller.begin_call(
                    callee.identity, "echo", str(number), response_timeout=RESPONSE_TIMEOUT
                )
            )
    return calls


def _cells(calls: list[Call]) -> list[str]:
    failures: Counter[int] = Counter()
    slowest = 0.0
    for call in calls:
        outcome, seconds = call.end()
        if isinstance(outcome, Failure):
            failures[outcome.code] += 1
        else:
            slowest = max(slowest, seconds)
    codes = ", ".join(f"{code}: {count}" for code, count in sorted(failures.items()))
    lost = f"{failures.total()} ({codes})" if failures else "0"
    return [f"{lost} of {len(calls)}", f"{slowest:.2f}"]


def render(rows: list[list[str]]) -> str:
    """Render the table in Markdown."""
    header = ["fault", "whose network fails", "lost, from it", "slowest s", "lost, to it"]
    header.append("slowest s")
    lines = [header, ["---"] * len(header), *rows]
    conditions = (
        f"A call every {1000 * INTERVAL:g} ms in each direction, from {LEAD:g} s before the fault "
        f"to {TAIL:g} s after it, each with a response timeout of {RESPONSE_TIMEOUT:g} s; on "
        f"{platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()}."
    )
    return "\n".join([conditions, "", *("| " + " | ".join(each) + " |" for each in lines)])


def main() -> None:
    """Measure all, and print or write the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.interop.cuts", description=__doc__)
    parser.add_argument("--kind", action="append", choices=KINDS, help="may be repeated")
    parser.add_argument("--write", action="store_true", help="put it into docs/interop.md")
    options = parser.parse_args()
    rows = []
    for fault in FAULTS:
        for kind in options.kind or KINDS:
            with TemporaryDirectory() as logs:
                cells = measure(fault, kind, Path(logs))
            rows.append([fault.what, _TITLES[kind], *cells])
            print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    text = render(rows)
    print(text)
    if options.write:
        replace_section("cuts", text)


if __name__ == "__main__":
    main()
