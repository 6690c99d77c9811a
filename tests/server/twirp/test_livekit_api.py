"""RoomService as `livekit-api` uses it, which knows nothing of this server.

That client runs on asyncio alone, so it runs in a thread of its own, whatever the server runs on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import anyio.to_thread
import pytest
from livekit import api
from livekit.protocol import room as room_messages

from trio_rpc import DisconnectReason, Room, RpcError, RpcInvocationData
from trio_rpc.events import DataReceived
from trio_rpc.server import RoomServer, ServerLimits

from ...conftest import Join
from ...support.tokens import API_KEY, API_KEYS, API_SECRET, ROOM

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

T = TypeVar("T")


@pytest.fixture
def server() -> RoomServer:
    # Below a megabyte, from which on aiohttp warns of what it is asked to send.
    return RoomServer(API_KEYS, ServerLimits(max_message_bytes=500_000))


async def with_livekit_api(
    url: str, use: Callable[[api.LiveKitAPI], Awaitable[T]], secret: str = API_SECRET
) -> T:
    """Run `use` with livekit-api's client, and return its result."""

    async def main() -> T:
        async with api.LiveKitAPI(url.replace("ws:", "http:"), API_KEY, secret) as livekit:
            return await use(livekit)

    return await anyio.to_thread.run_sync(lambda: asyncio.run(main()))


async def perform_rpc(
    livekit: api.LiveKitAPI, method: str, payload: str, identity: str = "bob"
) -> str:
    """Call `PerformRpc`, for which livekit-api has no method yet, as it calls others."""
    service = livekit.room
    response = await service._client.request(
        "RoomService",
        "PerformRpc",
        room_messages.PerformRpcRequest(
            room=ROOM, destination_identity=identity, method=method, payload=payload
        ),
        service._auth_header(api.VideoGrants(room_admin=True, room=ROOM)),
        room_messages.PerformRpcResponse,
    )
    return response.payload


@pytest.mark.rule("R1", "R2")
async def test_rooms_are_created_listed_changed_and_deleted(server: RoomServer, url: str) -> None:
    async def use(livekit: api.LiveKitAPI) -> None:
        rooms = livekit.room
        made = await rooms.create_room(
            api.CreateRoomRequest(name=ROOM, empty_timeout=60, max_participants=3, metadata="m")
        )
        assert (made.name, made.empty_timeout, made.max_participants) == (ROOM, 60, 3)
        await rooms.create_room(api.CreateRoomRequest(name="other"))
        listed = await rooms.list_rooms(api.ListRoomsRequest(names=[ROOM]))
        assert list(listed.rooms) == [made]
        changed = await rooms.update_room_metadata(
            api.UpdateRoomMetadataRequest(room=ROOM, metadata="n")
        )
        assert (changed.sid, changed.metadata) == (made.sid, "n")
        await rooms.delete_room(api.DeleteRoomRequest(room=ROOM))
        listed = await rooms.list_rooms(api.ListRoomsRequest())
        assert [each.name for each in listed.rooms] == ["other"]

    await with_livekit_api(url, use)


@pytest.mark.rule("R3", "R4")
async def test_participants_are_looked_at_changed_spoken_to_and_removed(
    url: str, join: Join
) -> None:
    async def use(livekit: api.LiveKitAPI) -> None:
        rooms = livekit.room
        listed = await rooms.list_participants(api.ListParticipantsRequest(room=ROOM))
        assert [each.identity for each in listed.participants] == ["bob"]
        changed = await rooms.update_participant(
            api.UpdateParticipantRequest(
                room=ROOM, identity="bob", name="Bob", attributes={"colour": "blue"}
            )
        )
        bob = api.RoomParticipantIdentity(room=ROOM, identity="bob")
        assert await rooms.get_participant(bob) == changed
        await rooms.send_data(
            api.SendDataRequest(room=ROOM, data=b"hi", destination_identities=["bob"], topic="t")
        )
        await rooms.remove_participant(bob)

    async with (
        join("bob", to=url, on_disconnect="continue") as bob,
        bob.events() as events,
    ):
        await with_livekit_api(url, use)
        reason = await bob.wait_disconnected()
        assert (bob.local_participant.name, bob.local_participant.attributes) == (
            "Bob",
            {"colour": "blue"},
        )
        received = [event async for event in events]
    assert reason is DisconnectReason.PARTICIPANT_REMOVED
    [data] = [event.data_packet for event in received if isinstance(event, DataReceived)]
    assert (data.data, data.topic, data.participant) == (b"hi", "t", None)


@pytest.mark.rule("R5")
async def test_a_participant_is_called(url: str, join: Join) -> None:
    room = Room()

    @room.register_rpc_method("greet")
    async def greet(data: RpcInvocationData) -> str:
        return f"Hello, {data.payload}!"

    @room.register_rpc_method("refuse")
    async def refuse(_data: RpcInvocationData) -> str:
        raise RpcError(7, "no", "closed")

    async def use(livekit: api.LiveKitAPI) -> None:
        assert await perform_rpc(livekit, "greet", "you") == "Hello, you!"
        with pytest.raises(api.TwirpError) as caught:
            await perform_rpc(livekit, "refuse", "")
        assert (caught.value.status, caught.value.code) == (500, "internal")
        assert caught.value.metadata == {"rpc_code": "7", "rpc_message": "no", "rpc_data": "closed"}
        with pytest.raises(api.TwirpError) as caught:
            await perform_rpc(livekit, "greet", "", identity="carol")
        assert (caught.value.status, caught.value.code) == (404, "not_found")
        assert caught.value.metadata["rpc_code"] == "1401"

    async with join("bob", to=url, room=room):
        await with_livekit_api(url, use)


@pytest.mark.rule("R1", "V1")
async def test_a_wrong_secret_and_an_unknown_room_are_errors_of_that_client(url: str) -> None:
    async def use(livekit: api.LiveKitAPI) -> tuple[int, str]:
        with pytest.raises(api.TwirpError) as caught:
            await livekit.room.delete_room(api.DeleteRoomRequest(room=ROOM))
        return caught.value.status, caught.value.code

    assert await with_livekit_api(url, use) == (404, "not_found")
    wrong = "another secret, of 32 bytes or more"
    assert await with_livekit_api(url, use, wrong) == (401, "unauthenticated")


@pytest.mark.rule("R1")
async def test_a_request_over_the_limit_is_refused_and_the_next_one_is_not(
    server: RoomServer, url: str
) -> None:
    too_much = b"x" * (server.limits.max_message_bytes + 1)

    async def use(livekit: api.LiveKitAPI) -> None:
        for _ in range(3):
            with pytest.raises(api.TwirpError) as caught:
                await livekit.room.send_data(api.SendDataRequest(room=ROOM, data=too_much))
            assert (caught.value.status, caught.value.code) == (429, "resource_exhausted")
            assert not (await livekit.room.list_rooms(api.ListRoomsRequest())).rooms

    await with_livekit_api(url, use)


@pytest.mark.rule("R5", "C13")
async def test_a_client_that_hangs_up_cancels_the_handler(url: str, join: Join) -> None:
    room = Room()
    called = threading.Event()
    cancelled = anyio.Event()

    @room.register_rpc_method("wait")
    async def wait(_data: RpcInvocationData) -> str:
        called.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        raise AssertionError

    async def use(livekit: api.LiveKitAPI) -> None:
        call = asyncio.create_task(perform_rpc(livekit, "wait", ""))
        assert await asyncio.to_thread(called.wait, 5)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    async with join("bob", to=url, room=room):
        await with_livekit_api(url, use)
        await cancelled.wait()
