"""Signalling requests of participants, and their answers (V7)."""

from __future__ import annotations

import time
from collections.abc import Sequence

from livekit.protocol import rtc

from ..protocol.capabilities import CLEARS_EMPTY
from ..protocol.logs import peer_logger
from .rooms.member import Member, Routed
from .rooms.room import ServerRoom

logger = peer_logger(__name__)
_Reason = rtc.RequestResponse.Reason


def handle_request(room: ServerRoom, member: Member, request: rtc.SignalRequest) -> Routed:
    """Handle a member's request, and answer it; return the members that may be behind with reading.

    Raises:
        BacklogFullError: the request has to wait; nothing was done.
    """
    match request.WhichOneof("message"):
        case "ping":
            member.tell(rtc.SignalResponse(pong=time.time_ns() // 1_000_000))
        case "ping_req":
            pong = rtc.Pong(
                last_ping_timestamp=request.ping_req.timestamp,
                timestamp=time.time_ns() // 1_000_000,
            )
            member.tell(rtc.SignalResponse(pong_resp=pong))
            member.send_receipt()
        case "update_metadata":
            return _update_metadata(room, member, request.update_metadata)
        case "add_track":
            refusal = rtc.RequestResponse(
                reason=_Reason.UNSUPPORTED_TYPE,
                message="this server carries data and no media",
                add_track=request.add_track,
            )
            member.tell(rtc.SignalResponse(request_response=refusal))
        case "publish_data_track_request":
            member.tell(room.publish_data_track(member, request.publish_data_track_request))
        case kind:
            logger.debug("ignored signalling of kind %s of %s", kind, member.sid)
    return Routed((member,), behind=(member,))


def _update_metadata(
    room: ServerRoom, member: Member, update: rtc.UpdateParticipantMetadata
) -> Routed:
    behind: Sequence[Member] = ()
    reason, message = _Reason.OK, ""
    if not member.permissions.can_update_metadata:
        reason = _Reason.NOT_ALLOWED
        message = f"{member.identity!r} lacks the grant canUpdateOwnMetadata"
    else:
        clears = room.clears_empty and CLEARS_EMPTY in member.client.capabilities
        try:
            behind = room.change(
                member,
                name=update.name if clears else update.name or None,
                metadata=update.metadata if clears else update.metadata or None,
                attributes=dict(update.attributes),
                cause=member,
            )
        except ValueError as error:
            reason, message = _Reason.LIMIT_EXCEEDED, str(error)
    response = rtc.RequestResponse(
        request_id=update.request_id, reason=reason, message=message, update_metadata=update
    )
    member.tell(rtc.SignalResponse(request_response=response))
    told = (member, *behind)
    return Routed(told, behind=told)
