"""What the server does for one participant, from joining to leaving."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from attrs import frozen
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
from .room_table import JoinRefusedError
from .rooms import ServerRoom

if TYPE_CHECKING:
    from .room_server import RoomServer

logger = logging.getLogger(__name__)
_Reason = rtc.RequestResponse.Reason
#: Seconds in which a receiver of bulk data must take some of what waits for it.
_STALL_TIMEOUT: Final = 5.0
#: Seconds that a participant's data channel may take to open.
_OPEN_TIMEOUT: Final = 20.0


@frozen
class Opening:
    """How the data packets of a participant begin, where that is not at once.

    Attributes:
        join: What its transport adds to what it is told on joining.
        wait_open: Waits until packets reach it.
    """

    join: rtc.JoinResponse
    wait_open: Callable[[], Awaitable[None]]


async def serve_member(
    server: RoomServer,
    link: Link,
    claims: Claims,
    client: models.ClientInfo,
    opening: Opening | None = None,
) -> None:
    """Let a participant in and serve it, until it leaves, vanishes, or is let go.

    If there is no place for it any more, its link is closed with the reason.

    Args:
        opening: What to wait for before it is active; nothing for links that carry packets at once.
    """
    backend = concurrency.current()
    try:
        room, member = server.join(claims, client, link, None if opening is None else opening.join)
    except JoinRefusedError as error:
        await link.aclose(str(error))
        return
    logger.info("%s joined room %r as %r", member.sid, room.name, member.identity)
    session = _MemberSession(backend, server, room, member, link)
    try:
        with backend.cancel_scope() as scope:
            member.on_dismissed = scope.cancel
            async with concurrency.open_service_nursery() as nursery:
                nursery.start_soon(session.watch_pings)
                if opening is not None:
                    nursery.start_soon(session.activate, opening)
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
        self._last_reassured = 0.0

    async def watch_pings(self) -> None:
        """Let the participant go when it is silent for too long (V9)."""
        timeout = self._limits.ping_timeout
        self._member.last_heard = self._backend.current_time()
        while True:
            # A moment, since the rest of a duration may be too short for the clock to advance by.
            gone_at = self._member.last_heard + timeout
            now = self._backend.current_time()
            if now >= gone_at:
                self._member.dismiss(
                    DisconnectReason.CONNECTION_TIMEOUT, f"it was silent for {timeout} s"
                )
                return
            await self._backend.sleep(gone_at - now)

    async def activate(self, opening: Opening) -> None:
        """Tell everybody when packets reach the participant; let it go if they never do."""
        with self._backend.move_on_after(_OPEN_TIMEOUT):
            try:
                await opening.wait_open()
            except LinkClosedError:
                # As whoever receives hears too.
                return
            self._room.activate(self._member)
            return
        self._member.dismiss(
            DisconnectReason.JOIN_FAILURE,
            f"its data channel was not open after {_OPEN_TIMEOUT:g} s",
        )

    async def receive_requests(self) -> None:
        """Do what the participant asks for, until it leaves or its link ends."""
        while not self._left:
            try:
                frames = await self._link.receive()
            except LinkClosedError as error:
                self._on_link_ended(str(error))
                return
            except ValueError as error:
                self._on_malformed(str(error))
            else:
                for member in self._on_frames(frames):
                    await self._give_time_to_take(member)

    def _on_frames(self, frames: list[Frame]) -> set[Member]:
        """Do what the frames ask for; returns who was sent bulk data."""
        sent: set[Member] = set()
        sent_bulk: set[Member] = set()
        self._member.last_heard = self._backend.current_time()
        for channel, body in frames:
            if self._left or self._member.dismissed is not None:
                break
            try:
                if channel is Channel.SIGNAL:
                    self._on_request(rtc.SignalRequest.FromString(body))
                else:
                    routed = self._room.route(self._member, channel, body)
                    sent.update(routed.receivers)
                    if routed.is_bulk:
                        sent_bulk.update(routed.receivers)
            except DecodeError:
                self._on_malformed(f"{len(body):,} bytes that are not a SignalRequest")
            except MalformedPacketError as error:
                self._on_malformed(str(error))
        for receiver in sent:
            receiver.mailbox.flush_nowait()
        return sent_bulk

    async def _give_time_to_take(self, receiver: Member) -> None:
        """Take nothing more from a sender of bulk data while its receiver is behind.

        A stream has no flow control of its own. So a fast sender would fill the queue of a slower
        receiver, who would be let go for not reading though it reads. One that takes nothing at all
        is let go.
        """
        limit = self._limits.max_queue_bytes // 2
        members = self._room.members
        now = self._backend.current_time()
        stalled_at = now + _STALL_TIMEOUT
        # One that has left takes what is queued too, but need not be waited for.
        while receiver.dismissed is None and members.get(receiver.identity) is receiver:
            if receiver.mailbox.queued_bytes <= limit:
                break
            deadline = min(stalled_at, now + self._limits.ping_interval)
            with self._backend.cancel_scope(deadline=deadline) as scope:
                await receiver.mailbox.wait_writable()
            now = self._backend.current_time()
            if not scope.cancelled_caught:
                stalled_at = now + _STALL_TIMEOUT
            elif now >= stalled_at:
                receiver.dismiss(
                    DisconnectReason.STATE_MISMATCH,
                    f"it does not read: it took nothing for {_STALL_TIMEOUT:g} s",
                )
                self._room.leave(receiver)
            self._reassure(now)

    def _reassure(self, now: float) -> None:
        """Let a sender that is not listened to live, and know that the server does."""
        self._member.last_heard = now
        if now - self._last_reassured >= self._limits.ping_interval:
            self._last_reassured = now
            self._member.tell(rtc.SignalResponse(pong=time.time_ns() // 1_000_000))

    def _on_link_ended(self, why: str) -> None:
        """Say so, in case that signalling still goes out: it may have a way of its own."""
        is_active = self._member.state == models.ParticipantInfo.ACTIVE
        reason = DisconnectReason.CONNECTION_TIMEOUT if is_active else DisconnectReason.JOIN_FAILURE
        self._member.dismiss(reason, why)

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
            case "ping":
                self._member.tell(rtc.SignalResponse(pong=time.time_ns() // 1_000_000))
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
            case "add_track":
                response = rtc.RequestResponse(
                    reason=_Reason.UNSUPPORTED_TYPE,
                    message="this server carries data and no media",
                    add_track=request.add_track,
                )
                self._member.tell(rtc.SignalResponse(request_response=response))
            case "publish_data_track_request":
                response = rtc.RequestResponse(
                    reason=_Reason.NOT_ALLOWED,
                    message="this server has no data tracks: data streams and packets it has",
                    publish_data_track=request.publish_data_track_request,
                )
                self._member.tell(rtc.SignalResponse(request_response=response))
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
        response = rtc.RequestResponse(
            request_id=update.request_id, reason=reason, message=message, update_metadata=update
        )
        member.tell(rtc.SignalResponse(request_response=response))
