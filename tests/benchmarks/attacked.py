"""A server, two honest participants who call each other, a victim, and an attacker.

The honest are in one process, each of the others in its own. Everybody has the usual limits.
Attacker and victim share one core, server and honest another, where there are two: on machines of
their own they would take no time from each other.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
import anyio.to_thread
import trio
from attrs import define, field

from trio_rpc import Room, RpcError, RpcInvocationData, TextStreamReader
from trio_rpc.server import RoomServer, serve
from trio_rpc.server.stream_listener import serve_stream

from ..support.tokens import API_KEYS, ROOM, make_token
from .attacks import ATTACKS, Attacker
from .attacks.base import ATTACKER, VICTIM
from .cases import payload
from .contestants.base import Control

_CALLEE: Final = "callee"
#: Seconds after which a call of the honest has failed.
_TIMEOUT: Final = 5.0
#: How many tasks call each of the two, and the seconds between their calls: far from all that the
#: machine can do, since latencies at full load are those of the load.
_CALLERS: Final = 4
_INTERVAL: Final = 0.01
_PAYLOAD: Final = payload(100)
_HANDLING: Final = 0.05
#: How many calls of the attacker are in flight, and for how long each.
_CALLS_TO_ATTACKER: Final = 10
_ATTACKER_TIMEOUT: Final = 0.5


def _run_on_core(number: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[number % len(cores)]})


def server(control: Control) -> None:
    _run_on_core(0)
    room_server, turns = RoomServer(API_KEYS), _Turns()

    async def main() -> None:
        async with anyio.create_task_group() as task_group:
            websocket = await task_group.start(serve, room_server, "127.0.0.1", 0)
            tcp = await task_group.start(serve_stream, room_server, "tcp://127.0.0.1:0")
            control.ready(f"{websocket} {tcp}")
            await _call_when_told(
                control,
                turns,
                lambda: room_server.perform_rpc(ROOM, ATTACKER, "any", "", _ATTACKER_TIMEOUT),
            )
            await anyio.sleep_forever()

    # As the command line does.
    gc.freeze()
    trio.run(main, instruments=[turns])


def victim(control: Control) -> None:
    _run_on_core(1)

    async def read(reader: TextStreamReader, _sender: str) -> None:
        async for _ in reader:
            pass

    async def read_nothing(_reader: TextStreamReader, _sender: str) -> None:
        await anyio.sleep_forever()

    turns = _Turns()

    async def main() -> None:
        room = _make_callee()
        room.register_text_stream_handler("notes", read)
        room.register_text_stream_handler("unread", read_nothing)
        async with room.connect(_urls(control)["websocket"], make_token(VICTIM)):
            control.ready()
            await _call_when_told(
                control,
                turns,
                lambda: room.local_participant.perform_rpc(
                    destination_identity=ATTACKER,
                    method="any",
                    payload="",
                    response_timeout=_ATTACKER_TIMEOUT,
                ),
            )

    trio.run(main, instruments=[turns])


def honest(control: Control) -> None:
    _run_on_core(0)

    async def main() -> None:
        url = _urls(control)["websocket"]
        async with (
            _make_callee().connect(url, make_token(_CALLEE)) as callee,
            Room().connect(url, make_token("caller")) as caller,
        ):
            await caller.wait_for_participant(_CALLEE)
            await caller.wait_for_participant(VICTIM)
            ended: list[str] = []
            for room in (callee, caller):
                room.on("disconnected", lambda reason: ended.append(f"honest: {reason}"))
            caller.on(
                "participant_disconnected",
                lambda each: (
                    ended.append(each.identity) if each.identity in (_CALLEE, VICTIM) else None
                ),
            )
            control.ready()
            while command := await anyio.to_thread.run_sync(control.next_command):
                pair, to_victim = _Calls(), _Calls()
                async with anyio.create_task_group() as task_group:
                    for calls, identity in ((pair, _CALLEE), (to_victim, VICTIM)):
                        for _ in range(_CALLERS):
                            task_group.start_soon(
                                calls.keep_calling, caller, identity, command["seconds"]
                            )
                control.send(pair=pair.summary(), victim=to_victim.summary(), ended=ended)

    trio.run(main)


def attacker(control: Control) -> None:
    """Attack on command, until the command to stop; then report the cost."""
    _run_on_core(1)

    async def main() -> None:
        control.ready()
        while command := await asyncio.to_thread(control.next_command):
            mine = Attacker(_urls(control), command["link"])
            attack = asyncio.create_task(ATTACKS[command["attack"]].run(mine))
            began = asyncio.create_task(mine.began.wait())
            await asyncio.wait([attack, began], return_when=asyncio.FIRST_COMPLETED)
            began.cancel()
            control.send()
            await asyncio.to_thread(control.next_command)
            attack.cancel()
            await asyncio.wait([attack])
            failure = None if attack.cancelled() else attack.exception()
            control.send(
                sent_bytes=mine.sent_bytes,
                connections=mine.connections,
                told=mine.told.most_common(3),
                failure=repr(failure) if failure is not None else "",
            )

    asyncio.run(main())


@define(eq=False)
class _Calls:
    """The calls of some tasks to one participant in one round."""

    _latencies: list[float] = field(factory=list)
    _failures: Counter[str] = field(factory=Counter)

    async def keep_calling(self, room: Room, identity: str, seconds: float) -> None:
        end = time.perf_counter() + seconds
        while (begun := time.perf_counter()) < end:
            try:
                answer = await room.local_participant.perform_rpc(
                    destination_identity=identity,
                    method="echo",
                    payload=_PAYLOAD,
                    response_timeout=_TIMEOUT,
                )
            except RpcError as error:
                self._failures[f"{error.code} {error.data or error.message}"] += 1
            else:
                if answer != _PAYLOAD:
                    raise AssertionError("the answer is not the payload")
            self._latencies.append(time.perf_counter() - begun)
            await anyio.sleep(_INTERVAL)

    def summary(self) -> dict[str, object]:
        latencies = sorted(self._latencies)
        return {
            "calls": len(latencies),
            "p50": latencies[len(latencies) // 2],
            "p99": latencies[len(latencies) * 99 // 100],
            "failures": self._failures.most_common(3),
        }


def _make_callee() -> Room:
    room = Room()

    async def echo(data: RpcInvocationData) -> str:
        return data.payload

    async def pause(data: RpcInvocationData) -> str:
        await anyio.sleep(_HANDLING)
        return data.payload

    async def hang(_data: RpcInvocationData) -> None:
        await anyio.sleep_forever()

    room.register_rpc_method("echo", echo)
    room.register_rpc_method("pause", pause)
    room.register_rpc_method("hang", hang)
    return room


class _Turns(trio.abc.Instrument):
    """A meter of the longest time that the event loop computes without checking for I/O."""

    def __init__(self) -> None:
        self._began = 0.0
        self._longest = 0.0

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002
        self._began = time.thread_time()

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002
        self._longest = max(self._longest, time.thread_time() - self._began)

    def take_longest(self) -> float:
        """Return the seconds of CPU of the longest turn since the last call of this."""
        longest, self._longest = self._longest, 0.0
        return longest


async def _call_when_told(
    control: Control, turns: _Turns, call: Callable[[], Awaitable[object]]
) -> None:
    """Call the attacker from one command to the next, or report the longest turn on request."""

    async def keep_calling() -> None:
        while True:
            try:
                await call()
            except (RpcError, LookupError):
                await anyio.sleep(_INTERVAL)

    async def next_command() -> dict[str, Any] | None:
        return await anyio.to_thread.run_sync(control.next_command, abandon_on_cancel=True)

    while command := await next_command():
        if command["do"] == "report":
            control.send(longest=turns.take_longest())
            continue
        async with anyio.create_task_group() as task_group:
            for _ in range(_CALLS_TO_ATTACKER):
                task_group.start_soon(keep_calling)
            control.send()
            await next_command()
            task_group.cancel_scope.cancel()
        control.send()


def _urls(control: Control) -> dict[str, str]:
    return dict(zip(("websocket", "tcp"), control.address.split(), strict=True))
