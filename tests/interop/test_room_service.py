"""The effects of `livekit-api` on each kind of participant."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from livekit import api
from livekit.protocol import models
from livekit.protocol import room as messages

from ..support.tokens import API_KEY, API_SECRET
from .conftest import Cast, Programs
from .program import Peer
from .programs import GO, KINDS
from .server import Server

pytestmark = pytest.mark.parametrize("kind", KINDS)

ROOM = "administered"

T = TypeVar("T")


@pytest.fixture
def peer(trio_server: Server, programs: Programs, kind: str) -> Peer:
    """A participant in a room of its own."""
    cast = Cast(ROOM, trio_server.url, programs)
    return cast.join(programs.get(kind), f"{kind} guest")


def administer(server: Server, use: Callable[[api.LiveKitAPI], Awaitable[T]]) -> T:
    """Run `use` with livekit-api's client, and return its result."""

    async def main() -> T:
        url = server.url.replace("ws:", "http:")
        async with api.LiveKitAPI(url, API_KEY, API_SECRET) as livekit:
            return await use(livekit)

    return asyncio.run(main())


@pytest.mark.rule("R1", "R2")
def test_a_service_lists_changes_and_removes_a_participant(
    trio_server: Server, peer: Peer, kind: str
) -> None:
    async def use(livekit: api.LiveKitAPI) -> list[models.ParticipantInfo]:
        rooms = livekit.room
        listed = await rooms.list_participants(api.ListParticipantsRequest(room=ROOM))
        await rooms.update_participant(
            api.UpdateParticipantRequest(room=ROOM, identity=peer.identity, metadata="from above")
        )
        await rooms.send_data(
            api.SendDataRequest(
                room=ROOM,
                data=b"soup's on",
                kind=models.DataPacket.RELIABLE,
                destination_identities=[peer.identity],
                topic="kitchen",
            )
        )
        return list(listed.participants)

    [info] = administer(trio_server, use)
    assert info.identity == peer.identity
    peer.wait_for("metadata", who=peer.identity, value="from above")
    data = peer.wait_for("data")
    assert (data["payload"], data["topic"]) == ("soup's on", "kitchen")
    # LiveKit's SDK for Go does not say.
    assert data["reliable"] == (None if kind == GO else True)

    async def remove(livekit: api.LiveKitAPI) -> None:
        await livekit.room.remove_participant(
            api.RoomParticipantIdentity(room=ROOM, identity=peer.identity)
        )

    administer(trio_server, remove)
    peer.wait_for("disconnected", reason="PARTICIPANT_REMOVED")


@pytest.mark.rule("R5")
def test_a_service_calls_a_participant(trio_server: Server, peer: Peer) -> None:
    async def use(livekit: api.LiveKitAPI) -> str:
        # The client has no method for it yet.
        service = livekit.room
        response = await service._client.request(
            "RoomService",
            "PerformRpc",
            messages.PerformRpcRequest(
                room=ROOM, destination_identity=peer.identity, method="echo", payload="hi"
            ),
            service._auth_header(api.VideoGrants(room_admin=True, room=ROOM)),
            messages.PerformRpcResponse,
        )
        await service.delete_room(api.DeleteRoomRequest(room=ROOM))
        return response.payload

    assert administer(trio_server, use) == "hi"
    peer.wait_for("disconnected", reason="ROOM_DELETED")
