"""The server's side of one session, from joining to leaving."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from attrs import frozen
from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc

from .. import concurrency
from ..concurrency import Backend, Nursery
from ..errors import DisconnectReason, RefusedError
from ..links import Channel, Frame, LinkClosedError, ServedLink
from ..links.frames import FRAME_OVERHEAD
from ..logs import peer_logger
from ..protocol.malformed import MalformedLimiter
from ..protocol.packets import MalformedPacketError
from ..tokens import Claims
from .admission import Admission
from .back_pressure import wait_for_room, wait_for_share
from .limits import ServerLimits
from .rooms.backlog import BacklogFullError, Cause
from .rooms.member import FULL, Member
from .rooms.room import ServerRoom
from .rooms.routing import TO_NOBODY, Routed

logger = peer_logger(__name__)
_Reason = rtc.RequestResponse.Reason
#: The deliveries of one participant's packets after which other tasks have their turn (B7).
_DELIVERIES_A_TURN: Final = 32
#: Seconds that a joining participant waits for participants whose queues are full.
_JOIN_PATIENCE: Final = 5.0
#: Seconds that an answer waits for room at the caller, and a request at the callee.
_ANSWER_PATIENCE: Final = 0.02
_REQUEST_PATIENCE: Final = 0.25
#: Seconds in which nothing waits for the same receiver again, after such a wait was in vain.
_IMPATIENCE: Final = 1.0
#: Seconds that a participant's data channel may take to open.
_OPEN_TIMEOUT: Final = 20.0


@frozen
class Opening:
    """The opening of a transport whose data packets reach the participant later only.

    Attributes:
        join: Additions of the transport to the `JoinResponse`.
        wait_open: Waits until packets reach the participant.
    """

    join: rtc.JoinResponse
    wait_open: Callable[[], Awaitable[None]]


async def serve_member(
    admission: Admission,
    link: ServedLink,
    claims: Claims,
    client: models.ClientInfo,
    opening: Opening | None = None,
) -> None:
    """Admit a participant and serve it, until it leaves, vanishes, or is disconnected.

    If the room is full by now, the link is closed with that reason.

    Args:
        opening: Waited for before the participant is active; None for links that carry packets at
            once.
    """
    backend = concurrency.current()
    await _wait_until_told_of_others(backend, admission.members_of(claims.grants.room))
    try:
        extra = None if opening is None else opening.join
        room, member = admission.join(claims, client, link, extra)
    except RefusedError as error:
        await link.aclose(error.reason)
        return
    logger.info("%s joined room %r as %r", member.sid, room.name, member.identity)
    session = _MemberSession(backend, admission.limits, room, member, link)
    try:
        with backend.cancel_scope() as scope:
            member.on_disconnect = scope.cancel
            async with concurrency.open_service_nursery() as nursery:
                member.backlog.on_waiter = partial(session.on_waiter, nursery)
                nursery.start_soon(session.watch)
                if opening is not None:
                    nursery.start_soon(session.activate, opening)
                try:
                    await session.receive_requests()
                finally:
                    # Before the nursery is closed to new tasks
                    member.backlog.close()
    finally:
        member.backlog.close()
        room.leave(member)
        logger.info("%s left room %r: %s", member.sid, room.name, member.close_reason or "it left")
        await link.aclose(member.close_reason or "")


async def _wait_until_told_of_others(backend: Backend, members: Sequence[Member]) -> None:
    """Delay a joining participant while queues are full of updates about others (B8).

    Not for long: those participants may not read for as long as they like.
    """
    with backend.move_on_after(_JOIN_PATIENCE):
        for member in members:
            backlog = member.backlog
            if member.send_queue.queued_bytes > backlog.announcement_limit:
                await wait_for_room(backend, backlog, 0, backlog.announcement_limit)


class _MemberSession:
    def __init__(
        self,
        backend: Backend,
        limits: ServerLimits,
        room: ServerRoom,
        member: Member,
        link: ServedLink,
    ) -> None:
        self._backend = backend
        self._limits = limits
        self._room = room
        self._member = member
        self._link = link
        self._malformed_limiter = MalformedLimiter(limit=limits.max_malformed)
        self._left = False
        # The routing of signalling, which is answered to the participant itself
        self._answered = Routed((member,), behind=(member,))
        # Whether the session waits for a receiver to read, and whether it did since the last check
        self._waits = False
        self._has_waited = False
        self._relieves_waiters = False

    async def watch(self) -> None:
        """Disconnect the participant when it is silent (V9), or does not read (V8)."""
        member, limits = self._member, self._limits
        member.last_received = taken_at = self._backend.current_time()
        while True:
            now = self._backend.current_time()
            if self._has_waited:
                self._keep_alive(now)
            # Before it is active, `activate` limits the time.
            if self._link.has_progressed() or member.state != models.ParticipantInfo.ACTIVE:
                taken_at = now
            # As points in time: a remaining duration may be too short for the clock to advance.
            gone_at = member.last_received + limits.ping_timeout
            stuck_at = taken_at + limits.read_timeout
            if now >= gone_at:
                text = f"it was silent for {limits.ping_timeout} s"
                member.disconnect(DisconnectReason.CONNECTION_TIMEOUT, text)
                return
            if now >= stuck_at:
                # Makes room for the close reason, in case the participant reads again.
                member.send_queue.discard_queued()
                text = f"it does not read: it took nothing for {limits.read_timeout:g} s"
                member.disconnect(DisconnectReason.STATE_MISMATCH, text)
                return
            look_at = now + limits.ping_interval
            await self._backend.sleep(min(gone_at, stuck_at, look_at) - now)

    def _keep_alive(self, now: float) -> None:
        """Count a sender under back-pressure as alive, and send it a pong, so that it counts us."""
        self._has_waited = self._waits
        self._member.last_received = now
        self._member.tell(rtc.SignalResponse(pong=time.time_ns() // 1_000_000))

    async def activate(self, opening: Opening) -> None:
        """Announce the participant as active when packets reach it; else disconnect it."""
        with self._backend.move_on_after(_OPEN_TIMEOUT):
            try:
                await opening.wait_open()
            except LinkClosedError:
                # `receive_requests` gets the same error.
                return
            self._room.activate(self._member)
            return
        self._member.disconnect(
            DisconnectReason.JOIN_FAILURE,
            f"its data channel was not open after {_OPEN_TIMEOUT:g} s",
        )

    async def receive_requests(self) -> None:
        """Handle the participant's requests and packets, until it leaves or its link ends."""
        while not self._left and self._member.close_reason is None:
            try:
                frames = await self._link.receive()
            except LinkClosedError as error:
                self._on_link_ended(str(error))
                return
            except ValueError as error:
                self._on_malformed(str(error))
            else:
                await self._on_frames(frames)

    async def _on_frames(self, frames: list[Frame]) -> None:
        """Handle frames, and wait for receivers whose queues they fill."""
        sent: set[Member] = set()
        deliveries = 0
        send_queue, half = self._member.send_queue, self._member.backlog.half
        self._member.last_received = self._backend.current_time()
        for channel, body in frames:
            if self._left or self._member.close_reason is not None:
                break
            try:
                routed = self._handle(channel, body)
            except BacklogFullError as error:
                routed = await self._handle_later(channel, body, error)
            sent.update(routed.receivers)
            deliveries += len(routed.receivers)
            if routed.behind or routed.held:
                await self._hold_back(routed)
            if send_queue.queued_bytes > half:
                await self._read_on_later()
            if deliveries >= _DELIVERIES_A_TURN:
                deliveries = 0
                await self._backend.checkpoint()
        for receiver in sent:
            receiver.send_queue.flush_nowait()

    def _handle(self, channel: Channel, body: bytes) -> Routed:
        """Handle one frame. A failure concerns this frame alone (B3).

        Raises:
            BacklogFullError: the frame has to wait; nothing was done.
        """
        try:
            if channel is Channel.SIGNAL:
                return self._on_request(rtc.SignalRequest.FromString(body))
            return self._room.router.route(self._member, channel, body)
        except BacklogFullError:
            raise
        except DecodeError:
            self._on_malformed(f"{len(body):,} bytes that are not a SignalRequest")
        except MalformedPacketError as error:
            self._on_malformed(str(error))
        except Exception:
            logger.exception("failed to handle what %s sent", self._member.sid)
            self._on_malformed(f"{len(body):,} bytes that could not be handled")
        return TO_NOBODY

    # Back-pressure (B8)

    async def _handle_later(self, channel: Channel, body: bytes, error: BacklogFullError) -> Routed:
        """Handle a frame once there is room for it."""
        while True:
            await self._wait(wait_for_room(self._backend, error.backlog, error.size))
            try:
                return self._handle(channel, body)
            except BacklogFullError as again:
                error = again

    async def _wait_briefly(self, routed: Routed, cause: Cause) -> None:
        """Wait briefly for the receiver of a call's packet; then drop it, and answer its caller.

        A receiver that reads has taken something by then. One that does not read must not hold up
        the participant's calls with others.
        """
        (receiver,) = (*routed.behind, *routed.held)
        if self._backend.current_time() >= receiver.impatient_until:
            patience = _ANSWER_PATIENCE if cause is receiver else _REQUEST_PATIENCE
            with self._backend.move_on_after(patience):
                await self._bring(routed, cause)
                return
            receiver.impatient_until = self._backend.current_time() + _IMPATIENCE
        for held in routed.held:
            assert routed.frame is not None
            self._room.router.drop_brief(self._member, held, routed.frame, routed.answer)

    async def _read_on_later(self) -> None:
        """Stop reading from the participant while it does not read its own responses."""
        member = self._member
        member.send_queue.flush_nowait()
        while member.holds_back(member):
            await self._wait(wait_for_share(self._backend, member.backlog, member))

    async def _hold_back(self, routed: Routed) -> None:
        """Stop reading from the participant while it fills the queues of others."""
        if routed.brief is None:
            await self._bring(routed, self._member)
        else:
            await self._wait_briefly(routed, routed.brief)

    async def _bring(self, routed: Routed, cause: Cause) -> None:
        for receiver in routed.held:
            assert routed.frame is not None
            size = len(routed.frame.body) + FRAME_OVERHEAD
            backlog = receiver.backlog
            while not backlog.closed and receiver.offer(routed.frame, cause) == FULL:
                await self._wait(wait_for_room(self._backend, backlog, size))
        if cause not in (self._member, self._member.answering):
            return
        for receiver in (*routed.behind, *routed.held):
            receiver.send_queue.flush_nowait()
            while receiver.holds_back(cause):
                await self._wait(wait_for_share(self._backend, receiver.backlog, cause))

    async def _wait(self, wait: Awaitable[None]) -> None:
        self._waits = self._has_waited = True
        try:
            await wait
        finally:
            self._waits = False

    def on_waiter(self, nursery: Nursery) -> None:
        """Start a task that wakes those who wait for the participant to read."""
        if not self._relieves_waiters:
            self._relieves_waiters = True
            nursery.start_soon(self._relieve_waiters)

    async def _relieve_waiters(self) -> None:
        while self._member.backlog.relieve(self._link.queued_bytes):
            await self._link.wait_writable()
        self._relieves_waiters = False

    def _on_link_ended(self, why: str) -> None:
        """Disconnect the participant; a signalling link of its own may still send the reason."""
        is_active = self._member.state == models.ParticipantInfo.ACTIVE
        reason = DisconnectReason.CONNECTION_TIMEOUT if is_active else DisconnectReason.JOIN_FAILURE
        self._member.disconnect(reason, why)

    def _on_malformed(self, what: str) -> None:
        logger.info("ignored what %s sent: %s", self._member.sid, what)
        if not self._malformed_limiter.allow(self._backend.current_time()):
            self._member.disconnect(
                DisconnectReason.STATE_MISMATCH,
                f"it sent more than {self._malformed_limiter.limit} malformed messages, "
                f"the last being {what}",
            )

    def _on_request(self, request: rtc.SignalRequest) -> Routed:
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
                return self._on_update_metadata(request.update_metadata)
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
                    message="this server has no data tracks, only data streams and packets",
                    publish_data_track=request.publish_data_track_request,
                )
                self._member.tell(rtc.SignalResponse(request_response=response))
            case kind:
                logger.debug("ignored signalling of kind %s of %s", kind, self._member.sid)
        return self._answered

    def _on_update_metadata(self, update: rtc.UpdateParticipantMetadata) -> Routed:
        member = self._member
        behind: Sequence[Member] = ()
        reason, message = _Reason.OK, ""
        if not member.permissions.can_update_metadata:
            reason = _Reason.NOT_ALLOWED
            message = f"{member.identity!r} lacks the grant canUpdateOwnMetadata"
        else:
            try:
                behind = self._room.change(
                    member,
                    name=update.name,
                    metadata=update.metadata,
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
