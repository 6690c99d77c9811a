"""The contract of a contestant, and the commands and reports of its processes.

Nothing here needs trio_rpc, or anyio: the other contestants run in environments without them.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, NoReturn, TypeVar

from attrs import define, field, frozen

from ..cases import Load, payload

#: Makes one call with this payload, and returns the answer, which is the payload again.
Call = Callable[[str], Awaitable[str]]

#: What a round runs many of.
Task = Callable[[], Coroutine[Any, Any, None]]
T = TypeVar("T")

#: Seconds that a server gets until it listens.
CONNECT_TIMEOUT: Final = 60.0


class MissingError(Exception):
    """A contestant can't be measured here; the text says what it lacks."""


@frozen
class Contestant:
    """Something that makes calls from one process to another.

    Attributes:
        name: For `--only`, and what its results are filed under.
        module: The module here that has a function for each role.
        options: What these functions are called with besides.
        roles: Its processes, in the order in which they are started. The first tells the others an
            address, the last is the caller.
        environment: The virtual environment that has what it needs; empty for that of trio_rpc.
        max_payload_bytes: The largest payload that it takes in its usual configuration.
        max_in_flight: The most calls in flight.
        title: For the tables.
        acknowledgement: The message that a caller gets before the answer.
        fairness: What is to be known before its figures are compared with others'.
    """

    name: str
    module: str
    options: Mapping[str, object] = field(factory=dict, eq=False)
    roles: tuple[str, ...] = ("server", "callee", "caller")
    environment: str = ""
    max_payload_bytes: int = 100_000_000
    max_in_flight: int = 1_000_000
    title: str = ""
    acknowledgement: str = ""
    fairness: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether the contestant is trio_rpc at both ends."""
        return self.module == "contestants.ours"

    def supports(self, load: Load) -> bool:
        """Whether the contestant can be measured with a load."""
        return load.payload_bytes <= self.max_payload_bytes and load.in_flight <= self.max_in_flight


@define(eq=False)
class Control:
    """A role's line to the process that measures: lines of JSON.

    Attributes:
        address: The address of the server; empty for the server itself.
    """

    address: str
    _output: Any

    def ready(self, address: str = "") -> None:
        """Report that the role is ready; the server reports its address too."""
        self.send(address=address)

    def become(self, address: str, *command: str) -> NoReturn:
        """Replace the server's process by another program, which will listen on `address`."""
        if shutil.which(command[0]) is None:
            raise MissingError(f"{command[0]} is not installed: apt-get install {command[0]}")
        self.ready(address)
        os.execvp(command[0], command)

    def next_command(self) -> dict[str, Any] | None:
        """Wait for the next command, blocking; None when there are no more."""
        line = sys.stdin.readline()
        return json.loads(line) if line else None

    def send(self, **message: object) -> None:
        """Send a report of another kind."""
        self._output.write(json.dumps(message) + "\n")
        self._output.flush()


async def run_rounds(
    control: Control,
    call: Call,
    *,
    run_in_thread: Callable[..., Awaitable[Any]] = asyncio.to_thread,
    run_together: Callable[[Task, int], Awaitable[None]] | None = None,
) -> None:
    """Run rounds of calls in the caller's process until there are no more.

    Args:
        control: Says which.
        call: Makes one.
        run_in_thread: Runs a blocking function in a thread; asyncio's way unless given.
        run_together: Runs so many of a task until all have ended; asyncio's way unless given.
    """
    run_together = run_together or _run_in_task_group
    control.ready()
    while command := await run_in_thread(control.next_command):
        text = payload(command["payload_bytes"])
        latencies: list[float] = []
        started = time.perf_counter()
        end = started + command["seconds"]

        async def keep_calling(
            text: str = text, latencies: list[float] = latencies, end: float = end
        ) -> None:
            while (begun := time.perf_counter()) < end or not latencies:
                answer = await call(text)
                latencies.append(time.perf_counter() - begun)
                if answer != text:
                    raise AssertionError("the answer is not the payload")

        await run_together(keep_calling, command["in_flight"])
        took = time.perf_counter() - started
        latencies.sort()
        control.send(
            calls=len(latencies),
            seconds=took,
            p50=latencies[len(latencies) // 2],
            p99=latencies[len(latencies) * 99 // 100],
        )


async def _run_in_task_group(task: Task, count: int) -> None:
    async with asyncio.TaskGroup() as task_group:
        for _ in range(count):
            task_group.create_task(task())


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def keep_trying(connect: Callable[[], Awaitable[T]], errors: type[Exception] = OSError) -> T:
    """Call `connect` until the server listens; until then it raises `errors`."""
    give_up = time.monotonic() + CONNECT_TIMEOUT
    while True:
        try:
            return await connect()
        except errors:
            if time.monotonic() > give_up:
                raise
            await asyncio.sleep(0.05)


def wait_until_listening(port: int) -> None:
    """Wait until somebody listens on a port of the loopback address."""

    async def connect() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()

    asyncio.run(keep_trying(connect))
