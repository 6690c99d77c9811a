"""trio_rpc: in memory, over a WebSocket, and over the stream link."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread

from trio_rpc import Room, RpcInvocationData
from trio_rpc.server import RoomServer, serve

from ...support.tokens import API_KEYS, make_token
from .base import Control, Task, run_rounds

#: Above every payload, so that large ones go by RPC version 2; and above every round's time.
_MAX_PAYLOAD_BYTES: Final = 20_000_000
_TIMEOUT: Final = 60.0
_FOREVER: Final = 3_600.0
_MAX_CONCURRENT_HANDLERS: Final = 20_000


def server(control: Control, *, link: str, backend: str, retains: bool = True) -> None:
    serve_rooms(control, RoomServer(API_KEYS), link, backend)


def serve_rooms(control: Control, room_server: RoomServer, link: str, backend: str) -> None:
    """Be the server, with these rooms."""
    listen = partial(serve, room_server, "127.0.0.1", 0)
    if link != "websocket":
        # Not imported above, since a checkout to compare with may be from before there was one.
        listener = import_module("trio_rpc.server.stream_listener")
        url = "tcp://127.0.0.1:0" if link == "tcp" else f"unix://{Path.cwd()}/socket"
        listen = partial(listener.serve_stream, room_server, url)

    async def main() -> None:
        async with anyio.create_task_group() as task_group:
            control.ready(await task_group.start(listen))

    run(main, backend)


def callee(control: Control, *, link: str, backend: str, retains: bool = True) -> None:
    async def main() -> None:
        connecting = make_callee().connect(
            control.address,
            make_token("callee"),
            on_disconnect="continue",
            **connect_options(retains),
        )
        async with connecting as room:
            control.ready()
            await room.wait_disconnected()

    run(main, backend)


def caller(
    control: Control, *, link: str, backend: str, pending: int = 0, retains: bool = True
) -> None:
    """Call; with so many more calls pending all the time."""

    async def main() -> None:
        connecting = make_room().connect(
            control.address, make_token("caller"), **connect_options(retains)
        )
        async with connecting as room:
            await call_in_rounds(control, room, pending)

    async def main_in_memory() -> None:
        room_server = RoomServer(API_KEYS)
        async with (
            make_callee().connect(room_server, make_token("callee")),
            make_room().connect(room_server, make_token("caller")) as room,
        ):
            await call_in_rounds(control, room, pending)

    run(main_in_memory if link == "memory" else main, backend)


def run(main: Callable[[], Awaitable[None]], backend: str) -> None:
    """Run `main` on trio, asyncio or uvloop."""
    if backend == "uvloop":
        anyio.run(main, backend="asyncio", backend_options={"use_uvloop": True})
    else:
        anyio.run(main, backend=backend)


def connect_options(retains: bool) -> dict[str, Any]:
    """Return the options of a participant; one that does not reconnect retains no packets."""
    # None at all for the usual one: a checkout to compare with may not know them.
    return {} if retains else {"reconnect": None}


def make_room() -> Room:
    """Return a room that is large enough for every load."""
    return Room(
        max_payload_bytes=_MAX_PAYLOAD_BYTES,
        max_round_trip_latency=_TIMEOUT,
        max_concurrent_handlers=_MAX_CONCURRENT_HANDLERS,
    )


def make_callee() -> Room:
    """Return a room that answers `echo` at once and `hang` never."""
    room = make_room()

    async def echo(data: RpcInvocationData) -> str:
        return data.payload

    async def hang(_data: RpcInvocationData) -> None:
        await anyio.sleep_forever()

    room.register_rpc_method("echo", echo)
    room.register_rpc_method("hang", hang)
    return room


async def call_in_rounds(control: Control, room: Room, pending: int) -> None:
    """Run rounds of calls of the participant "callee"."""
    await room.wait_for_participant("callee")

    async def perform(method: str, payload: str, response_timeout: float) -> str:
        return await room.local_participant.perform_rpc(
            destination_identity="callee",
            method=method,
            payload=payload,
            response_timeout=response_timeout,
        )

    async def run_together(task: Task, count: int) -> None:
        async with anyio.create_task_group() as task_group:
            for _ in range(count):
                task_group.start_soon(task)

    async with anyio.create_task_group() as task_group:
        for _ in range(pending):
            task_group.start_soon(perform, "hang", "", _FOREVER)
        await run_rounds(
            control,
            lambda payload: perform("echo", payload, _TIMEOUT),
            run_in_thread=anyio.to_thread.run_sync,
            run_together=run_together,
        )
        task_group.cancel_scope.cancel()
