"""Rooms to be cancelled in, and what is true of them when all is over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from trio_rpc import Room, RoomStatistics, RpcInvocationData
from trio_rpc.server import RoomServer

from ..conftest import Join
from ..support.waiting import wait_until

AT_REST = RoomStatistics(pending_calls=0, running_handlers=0)


async def echo(data: RpcInvocationData) -> str:
    await anyio.lowlevel.checkpoint()
    return data.payload


@asynccontextmanager
async def two_rooms(join: Join, url: str | None = None) -> AsyncIterator[tuple[Room, Room]]:
    """Connect Alice and Bob, who answers to `echo`; in memory unless there is a URL."""
    options = {} if url is None else {"to": url}
    async with join("bob", **options) as bob, join("alice", **options) as alice:
        bob.register_rpc_method("echo", echo)
        await alice.wait_for_participant("bob")
        await bob.wait_for_participant("alice")
        yield alice, bob


async def call(
    room: Room,
    destination: str = "bob",
    *,
    method: str = "echo",
    payload: str = "hi",
    response_timeout: float = 10.0,
) -> str:
    """Call a method."""
    return await room.local_participant.perform_rpc(
        destination_identity=destination,
        method=method,
        payload=payload,
        response_timeout=response_timeout,
    )


async def at_rest(*rooms: Room) -> None:
    """Wait until invocations whose caller has forgotten them are over."""
    await wait_until(lambda: all(room.statistics() == AT_REST for room in rooms))


async def nobody_left(server: RoomServer, *, but: int = 0) -> None:
    """Wait until the server has seen everybody leave, which is soon."""
    await wait_until(lambda: server.statistics().participants == but)
    # It waits for its participants to come back.
    assert server.statistics().rooms <= 1
