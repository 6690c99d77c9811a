"""LiveKit's RoomService: the methods that make sense without media.

Each turns a request into a call of `RoomServer`, and the outcome into a response.
"""

from __future__ import annotations

from typing import Final

from livekit.protocol import models, room

from ...participant import DEFAULT_RESPONSE_TIMEOUT, ParticipantPermissions
from ..room_server import RoomServer
from ..rooms.room import DEFAULT_DEPARTURE_TIMEOUT, DEFAULT_EMPTY_TIMEOUT
from .methods import Methods

#: The sizes of a nonce: none, or a UUID.
_NONCE_BYTES: Final = (0, 16)


async def _create_room(server: RoomServer, request: room.CreateRoomRequest) -> models.Room:
    return server.create_room(
        request.name,
        empty_timeout=request.empty_timeout or DEFAULT_EMPTY_TIMEOUT,
        departure_timeout=request.departure_timeout or DEFAULT_DEPARTURE_TIMEOUT,
        max_participants=request.max_participants,
        metadata=request.metadata,
    )


async def _list_rooms(server: RoomServer, request: room.ListRoomsRequest) -> room.ListRoomsResponse:
    return room.ListRoomsResponse(rooms=server.list_rooms(request.names))


async def _delete_room(
    server: RoomServer, request: room.DeleteRoomRequest
) -> room.DeleteRoomResponse:
    server.delete_room(request.room)
    return room.DeleteRoomResponse()


async def _update_room_metadata(
    server: RoomServer, request: room.UpdateRoomMetadataRequest
) -> models.Room:
    return server.update_room_metadata(request.room, request.metadata)


async def _list_participants(
    server: RoomServer, request: room.ListParticipantsRequest
) -> room.ListParticipantsResponse:
    return room.ListParticipantsResponse(participants=server.list_participants(request.room))


async def _get_participant(
    server: RoomServer, request: room.RoomParticipantIdentity
) -> models.ParticipantInfo:
    return server.get_participant(request.room, request.identity)


async def _remove_participant(
    server: RoomServer, request: room.RoomParticipantIdentity
) -> room.RemoveParticipantResponse:
    server.remove_participant(request.room, request.identity)
    return room.RemoveParticipantResponse()


async def _update_participant(
    server: RoomServer, request: room.UpdateParticipantRequest
) -> models.ParticipantInfo:
    permissions = None
    if request.HasField("permission"):
        permissions = ParticipantPermissions.from_proto(request.permission)
    return server.update_participant(
        request.room,
        request.identity,
        # An absent field is the same as an empty text: both leave the value unchanged.
        name=request.name or None,
        metadata=request.metadata or None,
        attributes=dict(request.attributes),
        permissions=permissions,
    )


async def _send_data(server: RoomServer, request: room.SendDataRequest) -> room.SendDataResponse:
    if len(request.nonce) not in _NONCE_BYTES:
        raise ValueError(f"a nonce has 16 bytes, not {len(request.nonce):,}")
    server.send_data(
        request.room,
        request.data,
        reliable=request.kind == models.DataPacket.RELIABLE,
        destination_identities=request.destination_identities,
        destination_sids=request.destination_sids,
        topic=request.topic,
        nonce=request.nonce,
    )
    return room.SendDataResponse()


async def _perform_rpc(
    server: RoomServer, request: room.PerformRpcRequest
) -> room.PerformRpcResponse:
    if not request.destination_identity:
        raise ValueError("destination_identity is missing")
    payload = await server.perform_rpc(
        request.room,
        request.destination_identity,
        request.method,
        request.payload,
        request.response_timeout_ms / 1000 or DEFAULT_RESPONSE_TIMEOUT,
    )
    return room.PerformRpcResponse(payload=payload)


#: The grant that each method needs, and the function that answers it.
METHODS: Final[Methods] = {
    "CreateRoom": ("room_create", _create_room),
    "DeleteRoom": ("room_create", _delete_room),
    "ListRooms": ("room_list", _list_rooms),
    "UpdateRoomMetadata": ("room_admin", _update_room_metadata),
    "ListParticipants": ("room_admin", _list_participants),
    "GetParticipant": ("room_admin", _get_participant),
    "RemoveParticipant": ("room_admin", _remove_participant),
    "UpdateParticipant": ("room_admin", _update_participant),
    "SendData": ("room_admin", _send_data),
    "PerformRpc": ("room_admin", _perform_rpc),
}
