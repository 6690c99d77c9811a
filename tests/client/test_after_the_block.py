"""Exceptions out of the block of `Room.connect`, and the room once its session has ended."""

from __future__ import annotations

import gc

import anyio
import pytest

from trio_rpc import DisconnectReason
from trio_rpc.server import RoomServer

from ..conftest import Join
from ..support.tokens import ROOM

pytestmark = pytest.mark.anyio


async def test_what_the_block_raises_comes_out_as_it_is_in_memory(join: Join) -> None:
    with pytest.raises(LookupError, match="of the block"):
        async with join("alice"):
            raise LookupError("of the block")


@pytest.mark.real_time
async def test_what_the_block_raises_comes_out_as_it_is_over_a_websocket(
    join: Join, url: str
) -> None:
    with pytest.raises(LookupError, match="of the block"):
        async with join("alice", to=url):
            raise LookupError("of the block")


async def _be_removed(join: Join, server: RoomServer, url: str) -> None:
    async with join("alice", to=url, on_disconnect="continue") as room:
        server.remove_participant(ROOM, "alice")
        assert await room.wait_disconnected() is DisconnectReason.PARTICIPANT_REMOVED


@pytest.mark.real_time
async def test_no_socket_is_left_when_the_server_ended_the_session(
    join: Join, server: RoomServer, url: str
) -> None:
    await _be_removed(join, server, url)
    gc.collect()  # an open socket warns when it is collected, and warnings are errors


async def test_the_iterator_of_events_ends_when_the_server_ends_the_session(
    join: Join, server: RoomServer
) -> None:
    async with (
        join("alice", on_disconnect="continue") as room,
        room.events() as events,
    ):
        server.remove_participant(ROOM, "alice")
        names = [event.name async for event in events]
    # The first may have come before the iterator.
    assert [name for name in names if name != "token_refreshed"] == [
        "connection_state_changed",
        "disconnected",
    ]


async def test_an_iterator_of_events_that_comes_too_late_is_at_its_end(
    join: Join, server: RoomServer
) -> None:
    async with join("alice", on_disconnect="continue") as room:
        server.remove_participant(ROOM, "alice")
        await room.wait_disconnected()
        with anyio.fail_after(1):
            assert [event async for event in room.events()] == []


async def test_after_the_block_an_iterator_of_events_waits_for_the_next_session(join: Join) -> None:
    async with join("alice") as room:
        pass
    events = room.events()
    async with join("alice", room=room):
        pass
    assert [event.name async for event in events] == [
        "connection_state_changed",
        "connected",
        "connection_state_changed",
        "disconnected",
    ]
