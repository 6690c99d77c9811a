"""LiveKit's RoomService: the methods that make sense without media.

Each turns a request into a call of `RoomServer`, and the outcome into a response.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from livekit.protocol import models, room
from starlette.types import ASGIApp

from ... import concurrency
from ...errors import QueueFullError, RefusedError, RpcError
from ...participant import DEFAULT_RESPONSE_TIMEOUT, ParticipantPermissions
from ...tokens import Claims
from ..back_pressure import wait_for_room
from ..limits import ServerLimits
from ..room_server import RoomServer
from ..rooms.backlog import BacklogFullError
from ..rooms.room import DEFAULT_DEPARTURE_TIMEOUT, DEFAULT_EMPTY_TIMEOUT
from .protocol import TwirpError, TwirpMethod, TwirpService

_Code = RpcError.ErrorCode
#: Twirp's codes for those of an `RpcError`, as on LiveKit's server; any other is `internal`.
_TWIRP_CODES: Final[dict[int, str]] = {
    _Code.UNSUPPORTED_METHOD: "invalid_argument",
    _Code.RECIPIENT_NOT_FOUND: "not_found",
    _Code.REQUEST_PAYLOAD_TOO_LARGE: "malformed",
    _Code.UNSUPPORTED_SERVER: "unimplemented",
    _Code.UNSUPPORTED_VERSION: "unimplemented",
    _Code.CONNECTION_TIMEOUT: "canceled",
    _Code.RESPONSE_TIMEOUT: "canceled",
    _Code.RECIPIENT_DISCONNECTED: "unavailable",
    _Code.RESPONSE_PAYLOAD_TOO_LARGE: "malformed",
}
#: The sizes of a nonce: none, or a UUID.
_NONCE_BYTES: Final = (0, 16)


def room_service(server: RoomServer) -> ASGIApp:
    """Return RoomService for the rooms of `server`: an ASGI app for `/twirp/{path:path}`."""
    descriptor = room.DESCRIPTOR.services_by_name["RoomService"]
    return TwirpService(
        descriptor.full_name,
        {
            method.name: TwirpMethod(
                GetMessageClass(method.input_type), _responder(server, method.name)
            )
            for method in descriptor.methods
        },
        server.admission.verify,
        max_request_bytes=server.limits.max_message_bytes,
        max_requests=server.limits.max_requests_in_flight,
    )


def _responder(server: RoomServer, name: str) -> Callable[[Claims, Any], Awaitable[Message]] | None:
    """Return the function that answers requests of a method; None if there is none."""
    if name not in _METHODS:
        return None
    grant, respond = _METHODS[name]

    async def check_and_respond(claims: Claims, request: Any) -> Message:
        _check_grant(claims, grant, request)
        try:
            return await _respond_when_possible(partial(respond, server, request), server.limits)
        except QueueFullError as error:
            raise TwirpError("resource_exhausted", str(error)) from None
        except LookupError as error:
            raise TwirpError("not_found", str(error)) from None
        except ValueError as error:
            raise TwirpError("invalid_argument", str(error)) from None
        except RefusedError as error:
            code = "unavailable" if error.status == 503 else "resource_exhausted"
            raise TwirpError(code, str(error)) from None
        except RpcError as error:
            raise _twirp_error(error) from None

    return check_and_respond


async def _respond_when_possible(
    respond: Callable[[], Awaitable[Message]], limits: ServerLimits
) -> Message:
    """Respond, after waiting for receivers with full queues rather than disconnecting them (B8).

    Raises:
        BacklogFullError: a queue is still full after `ServerLimits.ping_timeout`.
    """
    backend = concurrency.current()
    deadline = backend.current_time() + limits.ping_timeout
    while True:
        try:
            return await respond()
        except BacklogFullError as error:
            with backend.cancel_scope(deadline=deadline) as scope:
                await wait_for_room(backend, error.backlog, error.size)
            if scope.cancelled_caught:
                raise


def _check_grant(claims: Claims, grant: str, request: Any) -> None:
    grants = claims.grants
    if not getattr(grants, grant):
        raise TwirpError("permission_denied", f"the token lacks the grant {_GRANT_NAMES[grant]}")
    if grant == "room_admin" and grants.room != request.room:
        raise TwirpError(
            "permission_denied",
            f"the token is for room {grants.room!r}, not for {request.room[:256]!r}",
        )


def _twirp_error(error: RpcError) -> TwirpError:
    """Return the error for a failed call, with all of the `RpcError` in its `meta`."""
    meta = {"rpc_code": str(int(error.code)), "rpc_message": error.message}
    if error.data is not None:
        meta["rpc_data"] = error.data
    return TwirpError(_TWIRP_CODES.get(error.code, "internal"), f"RpcError {error}", meta)


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
_METHODS: Final[dict[str, tuple[str, Callable[[RoomServer, Any], Awaitable[Message]]]]] = {
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
#: The names of the grants in tokens.
_GRANT_NAMES: Final = {
    "room_create": "roomCreate",
    "room_list": "roomList",
    "room_admin": "roomAdmin",
}
