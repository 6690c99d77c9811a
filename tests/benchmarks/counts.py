"""The function calls of a call: the same on every machine, and time follows them.

`python -m tests.benchmarks.counts` prints the tables of docs/performance.md, and
`python -m tests.benchmarks.profile` prints them too. A caller, its server and
its callee are in one process, over links in memory, each with tasks of its own, and a profiler
counts the functions that are called, in Python and in C, while many calls are in flight.
"""

from __future__ import annotations

import argparse
import cProfile
import platform
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import anyio
from attrs import frozen
from livekit.protocol import rtc

from trio_rpc import Room, RpcInvocationData, concurrency
from trio_rpc.events import DataReceived
from trio_rpc.links import Link
from trio_rpc.protocol.capabilities import CAN_INFLATE, CAN_RESUME
from trio_rpc.testing import InMemoryServer

from . import report

BACKENDS: Final = ("trio", "asyncio")
_CALLS: Final = 1_000
_IN_FLIGHT: Final = 100
_RUNS: Final = 3
#: The calls of each task before those that are counted.
_WARM_UP: Final = 2
#: A module with fewer function calls for each call is not listed.
_LISTED: Final = 2.0
_ROOT: Final = Path(__file__).parents[2]
PAGE: Final = _ROOT / "docs" / "performance.md"
_LIBRARIES: Final = ("trio", "anyio", "protobuf", "attrs")


@frozen
class Case:
    """Calls of one kind, or data packets in place of them.

    Attributes:
        payload_bytes: The size of each payload.
        is_data: Whether they are data packets, each of which the receiver gets as an event.
        capabilities: The capabilities that the callee announces; None for those of this library.
        retains: Whether packets are retained for a lost connection.
    """

    payload_bytes: int
    is_data: bool = False
    capabilities: tuple[int, ...] | None = None
    retains: bool = True


CASES: Final[Mapping[str, Case]] = {
    "a call, 100 B": Case(100),
    "a call, 100 B, RPC v2": Case(100, capabilities=(CAN_INFLATE, CAN_RESUME)),
    "a call, 100 B, retaining nothing": Case(100, retains=False),
    "a call, 10 KB": Case(10_000),
    "a data packet, 100 B": Case(100, is_data=True),
}


@frozen
class Counts:
    """The function calls of one call, on average.

    Attributes:
        in_python: Functions of Python, by module.
        in_c: Functions of C, by the module that calls them.
    """

    in_python: Mapping[str, float]
    in_c: Mapping[str, float]

    @property
    def totals(self) -> tuple[float, float]:
        """The numbers of functions of Python and of C."""
        return sum(self.in_python.values()), sum(self.in_c.values())


@frozen
class _Announcing:
    """A connector whose client announces other abilities than this library has."""

    _server: InMemoryServer
    _case: Case

    def open_link(self, token: str, request: rtc.JoinRequest) -> AbstractAsyncContextManager[Link]:
        if self._case.capabilities is not None:
            announced = request.client_info.capabilities
            announced[:] = self._case.capabilities  # type: ignore[assignment]
        return self._server.open_link(token, request)


def count(case: Case, backend: str) -> Counts:
    """Count the function calls of a case: the fewest of some runs.

    How many packets of 10 KB share a message depends on the order in which tasks have their turns,
    which is random on trio.
    """
    runs = (anyio.run(_count, case, backend=backend) for _ in range(_RUNS))
    return min(runs, key=lambda counts: sum(counts.totals))


async def _count(case: Case) -> Counts:
    server, callee_joined, over = InMemoryServer(), anyio.Event(), anyio.Event()
    reconnect: Mapping[str, Any] = {} if case.retains else {"reconnect": None}
    received = _Received()

    async def run_callee() -> None:
        room = Room()

        @room.register_rpc_method("echo")
        async def echo(data: RpcInvocationData) -> str:
            return data.payload

        through = _Announcing(server, case)
        async with server.open_room("bob", room, through=through, **reconnect):
            callee_joined.set()
            if case.is_data:
                with anyio.CancelScope() as received.scope:
                    async for _ in room.events(DataReceived):
                        received.add()
            await over.wait()

    async def run_caller() -> Counts:
        async with server.open_room("alice", **reconnect) as room:
            await room.wait_for_participant("bob")
            us, payload = room.local_participant, "x" * case.payload_bytes
            one: Callable[[], Awaitable[object]]
            if case.is_data:
                one = partial(us.publish_data, payload, destination_identities=["bob"])
            else:
                one = partial(
                    us.perform_rpc, destination_identity="bob", method="echo", payload=payload
                )
            await _repeat(one, _WARM_UP * _IN_FLIGHT, received if case.is_data else None)
            profile = cProfile.Profile()
            profile.enable()
            await _repeat(one, _CALLS, received if case.is_data else None)
            profile.disable()
            return _counts_of(profile)

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(run_callee)
        await callee_joined.wait()
        counts = await run_caller()
        received.scope.cancel()
        over.set()
    return counts


class _Received:
    """The data packets that have arrived."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self._missing = 0
        self._all = anyio.Event()

    def expect(self, number: int) -> None:
        self._missing = number
        self._all = anyio.Event()

    def add(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._all.set()

    async def wait(self) -> None:
        await self._all.wait()


async def _repeat(
    one: Callable[[], Awaitable[object]], number: int, received: _Received | None
) -> None:
    """Make so many calls, or send so many data packets, some at a time."""

    async def repeat() -> None:
        for _ in range(number // _IN_FLIGHT):
            await one()

    if received is not None:
        received.expect(number)
    async with concurrency.current().open_nursery() as nursery:
        for _ in range(_IN_FLIGHT):
            nursery.start_soon(repeat)
    if received is not None:
        await received.wait()


def _counts_of(profile: cProfile.Profile) -> Counts:
    in_python: Counter[str] = Counter()
    in_c: Counter[str] = Counter()
    for entry in profile.getstats():
        if isinstance(entry.code, str):
            continue
        module = _module(entry.code.co_filename)
        in_python[module] += entry.callcount
        for called in entry.calls or ():
            if isinstance(called.code, str):
                in_c[module] += called.callcount
    return Counts(
        {module: number / _CALLS for module, number in in_python.items()},
        {module: number / _CALLS for module, number in in_c.items()},
    )


def _module(file: str) -> str:
    """Return the name of a module as the table has it: those of others by their package."""
    if file == "<string>":
        return "named tuples"
    if file.startswith("<attrs"):
        # With the class that a method is made for
        name = file.strip("<>").split()[-1]
        return name.rpartition(".")[0] if name.startswith("trio_rpc") else name.partition(".")[0]
    path = Path(file)
    if path.is_relative_to(_ROOT):
        return ".".join(path.relative_to(_ROOT).with_suffix("").parts)
    parts = path.with_suffix("").parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    return "the standard library"


def tables() -> str:
    """Return the tables of docs/performance.md."""
    of_cases = {
        name: [count(case, backend) for backend in BACKENDS] for name, case in CASES.items()
    }
    of_call = next(iter(of_cases.values()))
    by_module = {
        module: [(each.in_python.get(module, 0.0), each.in_c.get(module, 0.0)) for each in of_call]
        for module in {module for each in of_call for module in each.in_python}
    }
    largest = sorted(by_module.items(), key=lambda row: -max(map(sum, row[1])))
    modules = [row for row in largest if max(map(sum, row[1])) >= _LISTED]
    return "\n".join(
        [
            f"| {_IN_FLIGHT} in flight | trio | asyncio |",
            "|---|---:|---:|",
            *(_row(name, [each.totals for each in counts]) for name, counts in of_cases.items()),
            "",
            "| of a call of 100 B | trio | asyncio |",
            "|---|---:|---:|",
            *(_row(f"`{module}`", figures) for module, figures in modules),
            "",
            f"{conditions()}\n",
        ]
    )


def _row(name: str, figures: Sequence[tuple[float, float]]) -> str:
    return f"| {name} | {' | '.join(f'{python:.0f} + {c:.0f}' for python, c in figures)} |"


def parse(tables: str) -> dict[str, dict[str, float]]:
    """Return the numbers of function calls in tables, by case and backend."""
    numbers: dict[str, dict[str, float]] = {}
    for line in tables.splitlines():
        name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        if name in CASES:
            totals = (sum(map(float, cell.split("+"))) for cell in cells)
            numbers[name] = dict(zip(BACKENDS, totals, strict=True))
    return numbers


def conditions() -> str:
    """Return the versions that matter to the counts."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    python = f"{platform.python_implementation()} {'.'.join(map(str, sys.version_info[:2]))}"
    return f"Counted with {python}, {libraries}."


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.counts", description="Count the function calls of a call."
    )
    parser.add_argument("--write", action="store_true", help=f"write them into {PAGE.name}")
    text = tables()
    if parser.parse_args().write:
        report.write(PAGE, "counts", text)
    else:
        print(text)


if __name__ == "__main__":
    main()
