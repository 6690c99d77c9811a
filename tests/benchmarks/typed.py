"""Typed calls beside calls of strings, in turns: `python -m tests.benchmarks.typed`.

The ratio of each pair is taken, so that what the machine does otherwise meets both (rule T14).
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import anyio
import attrs

from trio_rpc import RpcInvocationData
from trio_rpc.testing import open_rooms

#: Calls at the same time, and in one round.
IN_FLIGHT: Final = 100
CALLS: Final = 2_000
ROUNDS: Final = 15


@attrs.frozen
class Order:
    """An argument of 100 bytes with its name."""

    vegetable: str
    length_mm: int
    thickness_mm: int


class Kitchen(Protocol):
    """The contract."""

    async def slice(self, order: Order) -> str: ...


async def slice_vegetable(order: Order) -> str:
    """Answer as the method of strings does."""
    return order.vegetable


async def calls_per_second(call: Callable[[], Awaitable[object]]) -> float:
    """Return the calls a second of one round."""

    async def caller() -> None:
        for _ in range(CALLS // IN_FLIGHT):
            await call()

    started = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for _ in range(IN_FLIGHT):
            tasks.start_soon(caller)
    return CALLS / (time.perf_counter() - started)


async def measure() -> tuple[float, float, float]:
    """Return the calls a second of strings and typed, and the median of the ratios."""
    order = Order("x" * 40, 150, 3)
    payload = json.dumps({"order": attrs.asdict(order)}, separators=(",", ":"))
    async with open_rooms("alice", "bob") as (alice, bob):

        @bob.register_rpc_method("text")
        async def text(data: RpcInvocationData) -> str:
            return json.dumps(data.payload[24:64])

        bob.method("slice")(slice_vegetable)
        kitchen = alice.client(Kitchen, "bob")
        us = alice.local_participant

        async def call_text() -> None:
            await us.perform_rpc(destination_identity="bob", method="text", payload=payload)

        pairs = [
            (
                await calls_per_second(call_text),
                await calls_per_second(lambda: kitchen.slice(order)),
            )
            for _ in range(ROUNDS + 1)
        ][1:]
    strings, typed = (statistics.median(column) for column in zip(*pairs, strict=True))
    return strings, typed, statistics.median(each / text for text, each in pairs)


def main() -> None:
    """Measure on both backends, or on those that are named."""
    for backend in sys.argv[1:] or ["trio", "asyncio"]:
        strings, typed, ratio = anyio.run(measure, backend=backend)
        print(f"{backend}: {strings:,.0f} calls/s of strings, {typed:,.0f} typed: {ratio:.2f}")


if __name__ == "__main__":
    main()
