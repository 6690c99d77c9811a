"""Participants whose network fails while they call each other, and their server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Final

import anyio
import anyio.to_thread
from attrs import define, field

from trio_rpc import Room, RpcError, RpcInvocationData
from trio_rpc.cli import main as run_command

from ..support.proxy import Proxy, open_proxy
from ..support.tokens import API_KEY, API_SECRET, make_token
from .contestants.base import Control

#: Calls per second in each of the two directions.
RATE: Final = 100
#: Seconds of calls before the fault, and after it.
LEAD: Final = 2.0
TAIL: Final = 3.0

_IDENTITIES: Final = ("alice", "bob")
_HANDLER_SECONDS: Final = 0.01
_CUT_INTERVAL: Final = 0.5


def server(control: Control, *, link: str, backend: str, port: int) -> None:
    """Be `trio-rpc serve`, with a port for each kind of link."""
    stream_port = port if link == "tcp" else 0
    options = ["--keys", f"{API_KEY}:{API_SECRET}", "--backend", backend]
    options += ["--port", str(0 if link == "tcp" else port)]
    options += ["--listen", f"tcp://127.0.0.1:{stream_port}"] if link == "tcp" else []
    control.ready(f"{'tcp' if link == 'tcp' else 'ws'}://127.0.0.1:{port}")
    run_command(["serve", *options])


def participants(control: Control, *, link: str, backend: str, port: int) -> None:
    """Be two participants behind a proxy, who call each other when they are asked to."""
    anyio.run(_take_part, control, backend=backend)


async def _take_part(control: Control) -> None:
    pair = Pair()
    async with open_proxy(control.address) as proxy, AsyncExitStack() as stack:
        for identity, room in pair.rooms.items():
            connecting = room.connect(
                proxy.url, make_token(identity), on_disconnect="continue", connect_timeout=10
            )
            await stack.enter_async_context(connecting)
        for identity in _IDENTITIES:
            await pair.rooms[_other(identity)].wait_for_participant(identity)
        control.ready()
        async with anyio.create_task_group() as tasks:
            while command := await anyio.to_thread.run_sync(control.next_command):
                if "server_port" in command:
                    # Another server has taken over.
                    proxy.server_port = command["server_port"]
                else:
                    tasks.start_soon(pair.run, control, proxy, command)


def _other(identity: str) -> str:
    return _IDENTITIES[identity == _IDENTITIES[0]]


@define(eq=False)
class Pair:
    """Two participants, with a count of the runs of each call's handler."""

    rooms: dict[str, Room] = field(init=False)
    runs: Counter[str] = field(factory=Counter[str])
    failures: Counter[str] = field(factory=Counter[str])
    durations: list[float] = field(factory=list[float])
    resumed: int = 0
    rejoined: int = 0

    def __attrs_post_init__(self) -> None:
        self.rooms = {identity: Room() for identity in _IDENTITIES}
        for room in self.rooms.values():
            room.register_rpc_method("count", self._count)
            room.on("reconnected", self._on_reconnected)

    def _on_reconnected(self, resumed: bool) -> None:
        self.resumed += resumed
        self.rejoined += not resumed

    async def _count(self, data: RpcInvocationData) -> str:
        self.runs[data.payload] += 1
        await anyio.sleep(_HANDLER_SECONDS)
        return data.payload

    async def run(self, control: Control, proxy: Proxy, command: Mapping[str, object]) -> None:
        """Call both ways while the network fails, and report the outcomes."""
        seconds = float(str(command["seconds"]))
        response_timeout = float(str(command["response_timeout"]))
        async with anyio.create_task_group() as tasks:
            for caller in _IDENTITIES:
                tasks.start_soon(self._call_steadily, caller, seconds, response_timeout)
            await anyio.sleep(LEAD)
            await NETWORK_FAULTS.get(str(command["fault"]), _nothing)(proxy, seconds)
        control.send(
            calls=len(self.durations) + self.failures.total(),
            failures=dict(self.failures),
            twice=sum(runs > 1 for runs in self.runs.values()),
            slowest=max(self.durations, default=0.0),
            resumed=self.resumed,
            rejoined=self.rejoined,
        )

    async def _call_steadily(self, caller: str, seconds: float, response_timeout: float) -> None:
        started = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for number in range(int((LEAD + seconds + TAIL) * RATE)):
                await anyio.sleep_until(started + number / RATE)
                tasks.start_soon(self._call, caller, f"{caller} {number}", response_timeout)

    async def _call(self, caller: str, payload: str, response_timeout: float) -> None:
        started = anyio.current_time()
        try:
            answer = await self.rooms[caller].local_participant.perform_rpc(
                destination_identity=_other(caller),
                method="count",
                payload=payload,
                response_timeout=response_timeout,
            )
        except RpcError as error:
            self.failures[str(error.code)] += 1
        else:
            assert answer == payload
            self.durations.append(anyio.current_time() - started)


# The faults of the network


async def _cut(proxy: Proxy, seconds: float) -> None:
    """End all connections again and again."""
    with anyio.move_on_after(seconds):
        while True:
            proxy.cut()
            await anyio.sleep(_CUT_INTERVAL)


async def _refuse(proxy: Proxy, seconds: float) -> None:
    """End all connections, and refuse others."""
    proxy.refuse()
    proxy.cut()
    await anyio.sleep(seconds)
    proxy.refuse(False)


async def _stall(proxy: Proxy, seconds: float) -> None:
    """Forward nothing, and then all of it."""
    proxy.stall()
    await anyio.sleep(seconds)
    proxy.flow()


async def _half_open(proxy: Proxy, seconds: float) -> None:
    """Lose all bytes of the present connections for ever, and stall others."""
    proxy.half_open()
    await _stall(proxy, seconds)


async def _nothing(_proxy: Proxy, _seconds: float) -> None:
    """Leave the network as it is: the fault is the server's."""


NETWORK_FAULTS: Final[Mapping[str, Callable[[Proxy, float], Awaitable[None]]]] = {
    "cuts": _cut,
    "refuses": _refuse,
    "stalls": _stall,
    "half-opens": _half_open,
}
