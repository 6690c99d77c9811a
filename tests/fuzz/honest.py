"""Honest participants: what they answer to, and that nothing has happened to them."""

from __future__ import annotations

from contextlib import suppress
from functools import cache, partial
from typing import Any, Final

import anyio

from trio_rpc import Room, RoomStatistics, RpcError, RpcInvocationData, StreamError

from ..support.tokens import make_token
from ..support.waiting import wait_until
from .target import require

#: Bytes that one stream may hold unread: little, so that it is reached.
MAX_STREAM_BYTES: Final = 64 * 1024
#: Seconds of virtual time after which nothing of an input may be left.
_REST: Final = 600
_AT_REST: Final = RoomStatistics()

#: A token, made once: that takes longer than to join.
token = cache(make_token)


def honest_room(max_stream_bytes: int = MAX_STREAM_BYTES) -> Room:
    """Return a room with handlers of all kinds, and with bounds that are soon reached."""
    # One peer can't take what is there for all.
    room = Room(
        max_concurrent_handlers=4,
        max_waiting_requests=8,
        max_stream_bytes=max_stream_bytes,
        max_peer_streams=8,
        max_streams=12,
        max_peer_bytes=2 * MAX_STREAM_BYTES,
        max_peers_bytes=8 * MAX_STREAM_BYTES,
    )

    @room.register_rpc_method("echo")
    async def echo(data: RpcInvocationData) -> str:
        return data.payload

    @room.register_rpc_method("slow")
    async def slow(data: RpcInvocationData) -> str:
        await anyio.sleep(1)
        return data.payload

    @room.register_rpc_method("refuse")
    async def refuse(data: RpcInvocationData) -> str:
        raise RpcError(42, data.payload, data.payload)

    @room.register_rpc_method("ask_back")
    async def ask_back(data: RpcInvocationData) -> str:
        return await call(room, data.caller_identity)

    async def read(reader: Any, _sender: str) -> None:
        try:
            whole = await reader.read_all()
        except StreamError:
            return
        size = len(whole.encode() if isinstance(whole, str) else whole)
        require(size <= max_stream_bytes, f"a reader was given {size:,} bytes")

    room.register_text_stream_handler("texts", read)
    room.register_byte_stream_handler("bytes", read)
    return room


async def call(room: Room, identity: str, payload: str = "hi", method: str = "echo") -> str:
    """Call a participant, and wait for a few seconds at most."""
    return await room.local_participant.perform_rpc(
        destination_identity=identity, method=method, payload=payload, response_timeout=5
    )


async def call_anyhow(room: Room, identity: str, method: str) -> None:
    """Call a participant that may do anything with the call; require one outcome in time."""
    with anyio.fail_after(10):
        try:
            outcome = await call(room, identity, method=method)
        except RpcError:
            return
    require(isinstance(outcome, str), f"a call returned {outcome!r}")


async def check_at_rest(*rooms: Room) -> None:
    """Check that all are still in their room, and that nothing is left of what others did."""
    # By then, everybody has taken what was sent.
    await anyio.sleep(1)
    for room in rooms:
        require(room.isconnected(), f"{room!r} was ended")
        with suppress(TimeoutError):
            await wait_until(partial(_is_at_rest, room), within=_REST)
        require(_is_at_rest(room), f"{room.statistics()} is left after {_REST} s")


def _is_at_rest(room: Room) -> bool:
    return room.statistics() == _AT_REST and not room.statistics().held_bytes


async def check_calls(first: Room, second: Room) -> None:
    """Check that two still answer each other."""
    for caller, callee in ((first, second), (second, first)):
        identity = callee.local_participant.identity
        answer = await call(caller, identity)
        require(answer == "hi", f"{identity} answered {answer!r}")
