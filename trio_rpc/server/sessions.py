"""What the server does for one participant, from joining to leaving."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc

from .. import concurrency
from ..concurrency import Backend
from ..events import DisconnectReason
from ..flood import FloodGate
from ..links import Channel, Frame, Link, LinkClosedError
from ..packets import MalformedPacketError
from ..tokens import Claims
from .members import Member
from .rooms import ServerRoom

if TYPE_CHECKING:
    from .room_server import RoomServer

logger = logging.getLogger(__name__)
_Reason = rtc.RequestResponse.Reason


async def serve_member(
    server: RoomServer, link: Link, claims: Claims, client: models.ClientInfo
) -> None:
    """Let a participant in and serve it, until it leaves, vanishes, or is let go.

    Raises:
        JoinRefusedError: there is no place for it.
    """
    backend = concurrency.current()
    room, member = server.join(claims, client, link)
    logger.info("%s joined room %r as %r", member.sid, room.name, member.identity)
    session = _MemberSession(backend, server, room, member, link)
    try:
        with backend.cancel_scope() as scope:
            member.on_dismissed = scope.cancel
            async with concurrency.open_service_nursery() as nursery:
                nursery.start_soon(session.watch_pings)
                await session.receive_requests()
    finally:
        room.leave(member)
        logger.info("%s left room %r: %s", member.sid, room.name, member.dismissed or "it left")
        await link.aclose(member.dismissed or "")


class _MemberSession:
    def __init__(
        self, backend: Backend, server: RoomServer, room: ServerRoom, member: Member, link: Link
    ) -> None:
        self._backend = backend
        self._limits = server.limits
        self._room = room
        self._member = member
        self._link = link
        self._flood_gate = FloodGate(limit=server.limits.max_malformed)
        self._left = False

    async def watch_pings(self) -> None:
        """Let the participant go when it is silent for too long (V9)."""
        timeout = self._limits.ping_timeout
        self._member.last_heard = self._backend.current_time()
        while True:
            silent = self._backend.current_time() - self._member.last_heard
            if silent >= timeout:
                self._member.dismiss(
                    DisconnectReason.CONNECTION_TIMEOUT, f"it was silent for {timeout} s"
                )
                return
            await self._backend.sleep(timeout - silent)

    async def receive_requests(self) -> None:
        """Do what the participant asks for, until it leaves or its link ends."""
        while not self._left:
            try:
                frames = await self._link.receive()
            except LinkClosedError as error:
                logger.debug("%s: %s", self._member.sid, error)
                return
            except ValueError as error:
                self._on_malformed(str(error))
            else:
                self._on_frames(frames)

    def _on_frames(self, frames: list[Frame]) -> None:
        self._member.last_heard = self._backend.current_time()
        for channel, body in frames:
            if self._left or self._member.dismissed is not None:
                return
            try:
                if channel is Channel.SIGNAL:
                    self._on_request(rtc.SignalRequest.FromString(body))
                else:
                    self._room.route(self._member, channel, body)
            except DecodeError:
                self._on_malformed(f"{len(body):,} bytes that are not a SignalRequest")
            except MalformedPacketError as error:
                self._on_malformed(str(error))

    def _on_malformed(self, what: str) -> None:
        logger.info("ignored what %s sent: %s", self._member.sid, what)
        if not self._flood_gate.admit(self._backend.current_time()):
            self._member.dismiss(
                DisconnectReason.STATE_MISMATCH,
                f"it sent more than {self._flood_gate.limit} malformed messages, the last being "
                f"{what}",
            )

    def _on_request(self, request: rtc.SignalRequest) -> None:
        match request.WhichOneof("message"):
            case "ping_req":
                pong = rtc.Pong(
                    last_ping_timestamp=request.ping_req.timestamp,
                    timestamp=time.time_ns() // 1_000_000,
                )
                self._member.tell(rtc.SignalResponse(pong_resp=pong))
            case "update_metadata":
                self._on_update_metadata(request.update_metadata)
            case "leave":
                self._left = True
            case kind:
                logger.debug("ignored signalling of kind %s of %s", kind, self._member.sid)

    def _on_update_metadata(self, update: rtc.UpdateParticipantMetadata) -> None:
        member = self._member
        reason, message = _Reason.OK, ""
        if not member.permissions.can_update_metadata:
            reason = _Reason.NOT_ALLOWED
            message = f"{member.identity!r} lacks the grant canUpdateOwnMetadata"
        else:
            try:
                self._room.change(
                    member,
                    name=update.name,
                    metadata=update.metadata,
                    attributes=dict(update.attributes),
                )
            except ValueError as error:
                reason, message = _Reason.LIMIT_EXCEEDED, str(error)
        response = rtc.RequestResponse(request_id=update.request_id, reason=reason, message=message)
        member.tell(rtc.SignalResponse(request_response=response))
