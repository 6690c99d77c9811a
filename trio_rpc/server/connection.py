"""The server's half of a participant's connection: its link, requests and back-pressure."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable
from typing import Final

from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc

from ..concurrency import Backend, Nursery
from ..errors import DisconnectReason
from ..links import Channel, Frame, LinkClosedError, ServedLink
from ..links.frames import FRAME_OVERHEAD
from ..protocol.logs import peer_logger
from ..protocol.malformed import MalformedLimiter
from ..protocol.packets import MalformedPacketError
from ..protocol.receipts import InvalidReceiptError, read_receipt
from .back_pressure import wait_for_room, wait_for_share
from .limits import ServerLimits
from .rooms.backlog import BacklogFullError, Cause
from .rooms.member import FULL, Member, Routed, leave_request
from .rooms.room import ServerRoom
from .rooms.routing import TO_NOBODY
from .scenarios import SIMULATED, refuse_scenario, simulate_leave
from .signal_requests import handle_request
from .token_refresh import TokenRefresher

logger = peer_logger(__name__)
#: The deliveries of one participant's packets after which other tasks have their turn (B7).
_DELIVERIES_A_TURN: Final = 32
#: Seconds that an answer waits for room at the caller, and a request at the callee.
_ANSWER_PATIENCE: Final = 0.02
_REQUEST_PATIENCE: Final = 0.25
#: The looks at a connection within its ping timeout, at least.
_LOOKS: Final = 9
#: The reasons that the others are told as a client gives them; any other is CLIENT_INITIATED.
_REASONS_OF_CLIENTS: Final = frozenset(
    {
        DisconnectReason.USER_UNAVAILABLE,
        DisconnectReason.USER_REJECTED,
        DisconnectReason.AGENT_ERROR,
    }
)
#: Seconds in which nothing waits for the same receiver again, after such a wait was in vain.
_IMPATIENCE: Final = 1.0


class MemberConnection:
    """A member's connection: its requests over one link, and its liveness.

    Args:
        limits: The limits of the server.
        room: The member's room.
        link: The way to the member.
        tokens: Refreshes the member's access token.

    Attributes:
        over: Set when the connection has ended, and the member may have another.
        lost_because: The reason, for people, for which the link was lost or replaced; None while it
            is in use, and when the member has left.
    """

    def __init__(
        self,
        backend: Backend,
        limits: ServerLimits,
        room: ServerRoom,
        member: Member,
        link: ServedLink,
        tokens: TokenRefresher,
    ) -> None:
        self.over = backend.event()
        self.lost_because: str | None = None
        self._backend = backend
        self._limits = limits
        self._room = room
        self._member = member
        self._link = link
        self._tokens = tokens
        self._malformed_limiter = MalformedLimiter(limit=limits.max_malformed)
        # Whether the member has left, or the link is lost
        self._has_ended = False
        # Cancelled to end the wait for frames, and nothing else
        self._receive_scope = backend.cancel_scope()
        self._is_receiving = False
        # Whether the member waits for a receiver to read, and whether it did since the last check
        self._waits = False
        self._has_waited = False
        self._relieves_waiters = False

    async def replace(self, why: str) -> None:
        """End the connection, and wait until the member may have another.

        Args:
            why: The reason, for people.
        """
        self._lose(why)
        await self.over.wait()

    def _lose(self, why: str) -> None:
        """End the connection as lost, after handling the packets that have arrived."""
        if self.lost_because is None:
            self.lost_because = why
            self._has_ended = True
        if self._is_receiving:
            self._receive_scope.cancel()

    # Liveness

    async def watch(self) -> None:
        """Refresh its token (L11); disconnect it when it is silent (V9), or does not read (V8)."""
        member, limits = self._member, self._limits
        member.last_received = taken_at = self._backend.current_time()
        while True:
            now = self._backend.current_time()
            if self._has_waited:
                self._keep_alive(now)
            # Before it is active, `Opening` limits the time.
            if self._link.has_progressed() or member.state != models.ParticipantInfo.ACTIVE:
                taken_at = now
            # As points in time: a remaining duration may be too short for the clock to advance.
            silent_since = math.inf if self._link.notices_silence else member.last_received
            gone_at = silent_since + limits.ping_timeout
            stuck_at = taken_at + limits.read_timeout
            if now >= gone_at:
                self._on_link_lost(f"it was silent for {limits.ping_timeout} s")
                return
            if now >= stuck_at:
                # Makes room for the close reason, in case the member reads again.
                member.send_queue.discard_queued()
                text = f"it does not read: it took nothing for {limits.read_timeout:g} s"
                member.disconnect(DisconnectReason.STATE_MISMATCH, text)
                return
            self._tokens.refresh(now)
            due_at = min(self._room.expire_detached(now), self._room.announcer.announce_due(now))
            # In time for clients that take a third of the ping timeout for a loss (L2).
            look_at = now + min(limits.ping_interval, limits.ping_timeout / _LOOKS)
            await self._backend.sleep(min(gone_at, stuck_at, look_at, due_at) - now)
            # Those who join or leave in between are announced together.
            self._room.announce_size()
            self._room.close_if_abandoned(self._backend.current_time())

    def _keep_alive(self, now: float) -> None:
        """Count a sender under back-pressure as alive, and send it a pong, so that it counts us."""
        self._has_waited = self._waits
        self._member.last_received = now
        self._member.tell(rtc.SignalResponse(pong=time.time_ns() // 1_000_000))

    def _on_link_lost(self, why: str) -> None:
        member = self._member
        if self._room.keeps_lost(member):
            self._lose(why)
            return
        # Signalling may have a transport of its own, which still works.
        is_active = member.state == models.ParticipantInfo.ACTIVE
        reason = DisconnectReason.CONNECTION_TIMEOUT if is_active else DisconnectReason.JOIN_FAILURE
        member.disconnect(reason, why)

    # Receiving

    async def receive_requests(self) -> None:
        """Handle the member's requests and packets, until it leaves or the connection is lost."""
        with self._receive_scope:
            while not self._has_ended and self._member.close_reason is None:
                self._is_receiving = True
                try:
                    frames = await self._link.receive()
                except LinkClosedError as error:
                    self._on_link_lost(str(error))
                    return
                except ValueError as error:
                    self._on_malformed(str(error))
                    continue
                finally:
                    self._is_receiving = False
                await self._on_frames(frames)

    async def _on_frames(self, frames: list[Frame]) -> None:
        """Handle frames, and wait for receivers whose queues they fill."""
        # A dict, which takes less than a set, and keeps their order
        sent: dict[Member, None] = {}
        deliveries = packets = packet_bytes = 0
        member, link, route = self._member, self._link, self._room.router.route
        half = member.backlog.half
        member.last_received = self._backend.current_time()
        try:
            for channel, body in frames:
                if self._has_ended or member.close_reason is not None:
                    # A member that resumes sends unhandled packets again.
                    break
                if channel is Channel.RELIABLE:
                    packets += 1
                    packet_bytes += len(body)
                elif packets and channel is Channel.SIGNAL:
                    # A pong comes with a receipt of what came before the ping.
                    self._count_arrived(packets, packet_bytes)
                    packets = packet_bytes = 0
                try:
                    if channel is Channel.SIGNAL or channel is Channel.RECEIPT:
                        routed = self._on_control(channel, body)
                    else:
                        routed = route(member, channel, body)
                except BacklogFullError as error:
                    _flush(sent)
                    routed = await self._handle_later(channel, body, error)
                except Exception as error:
                    routed = self._on_failure(body, error)
                for receiver in routed.receivers:
                    sent[receiver] = None
                    deliveries += 1
                if routed.behind or routed.held:
                    _flush(sent)
                    await self._hold_back(routed)
                if link.queued_bytes > half:
                    _flush(sent)
                    await self._read_on_later()
                if deliveries >= _DELIVERIES_A_TURN:
                    deliveries = 0
                    _flush(sent)
                    await self._backend.checkpoint()
        finally:
            _flush(sent)
            if packets:
                self._count_arrived(packets, packet_bytes)
        self._tokens.on_handled(member.last_received)

    def _count_arrived(self, packets: int, size: int) -> None:
        if self._member.receipts.add(packets, size):
            self._member.send_receipt()

    def _on_control(self, channel: Channel, body: bytes) -> Routed:
        """Handle a request or a receipt.

        Raises:
            BacklogFullError: the request has to wait; nothing was done.
            DecodeError: it is not a request.
            InvalidReceiptError: it is not a valid receipt.
        """
        if channel is Channel.SIGNAL:
            return self._on_request(rtc.SignalRequest.FromString(body))
        if self._member.resumable is not None:
            self._member.resumable.retained.on_arrived(read_receipt(body))
        return TO_NOBODY

    def _on_failure(self, body: bytes, error: Exception) -> Routed:
        """Count a frame that could not be handled; the failure concerns this frame alone (B3)."""
        if isinstance(error, DecodeError):
            self._on_malformed(f"{len(body):,} bytes that are not a SignalRequest")
        elif isinstance(error, (MalformedPacketError, InvalidReceiptError)):
            self._on_malformed(str(error))
        else:
            logger.error("failed to handle what %s sent", self._member.sid, exc_info=error)
            self._on_malformed(f"{len(body):,} bytes that could not be handled")
        return TO_NOBODY

    def _on_request(self, request: rtc.SignalRequest) -> Routed:
        if request.HasField("leave"):
            self._on_leave(DisconnectReason(request.leave.reason))
            return TO_NOBODY
        if request.HasField("simulate"):
            self._simulate(request.simulate)
            return TO_NOBODY
        return handle_request(self._room, self._member, request)

    def _on_leave(self, reason: DisconnectReason) -> None:
        if reason not in _REASONS_OF_CLIENTS:
            reason = DisconnectReason.CLIENT_INITIATED
        # LiveKit's clients may wait for it.
        leave = leave_request(reason, joins_again=False)
        self._member.tell(rtc.SignalResponse(leave=leave))
        self._end_session(reason)

    def _end_session(self, reason: DisconnectReason) -> None:
        self._member.disconnect_reason = reason
        self._has_ended = True

    def _simulate(self, scenario: rtc.SimulateScenario) -> None:
        member = self._member
        kind = scenario.WhichOneof("scenario")
        logger.info("%s asks to simulate %s", member.sid, kind)
        if kind == "migration" and member.resumable is not None:
            self._lose(SIMULATED)
        elif kind in ("migration", "node_failure"):
            member.send_queue.discard_queued()
            self._end_session(DisconnectReason.SERVER_SHUTDOWN)
        elif not simulate_leave(member, scenario):
            refuse_scenario(member, scenario)

    # Back-pressure (B8)

    async def _handle_later(self, channel: Channel, body: bytes, error: BacklogFullError) -> Routed:
        """Handle a request once there is room for it."""
        while True:
            await self._wait(wait_for_room(self._backend, error.backlog, error.size))
            try:
                return self._on_control(channel, body)
            except BacklogFullError as again:
                error = again
            except Exception as failure:
                return self._on_failure(body, failure)

    async def _wait_briefly(self, routed: Routed, cause: Cause) -> None:
        """Wait briefly for the receiver of a call's packet; then drop it, and answer its caller.

        A receiver that reads has taken something by then. One that does not read must not hold up
        the member's calls with others.
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
        """Stop reading from the member while it does not read its own responses."""
        member = self._member
        member.send_queue.flush_nowait()
        while member.holds_back(member):
            await self._wait(wait_for_share(self._backend, member.backlog, member))

    async def _hold_back(self, routed: Routed) -> None:
        """Stop reading from the member while it fills the queues of others."""
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
            receiver.send_queue.flush_nowait()
        if cause not in (self._member, self._member.answering):
            return
        for receiver in (*routed.behind, *routed.held):
            while receiver.holds_back(cause):
                await self._wait(wait_for_share(self._backend, receiver.backlog, cause))

    async def _wait(self, wait: Awaitable[None]) -> None:
        self._waits = self._has_waited = True
        try:
            await wait
        finally:
            self._waits = False

    def on_waiter(self, nursery: Nursery) -> None:
        """Start a task that wakes the senders that wait for the member to read."""
        if not self._relieves_waiters:
            self._relieves_waiters = True
            nursery.start_soon(self._relieve_waiters)

    async def _relieve_waiters(self) -> None:
        while self._member.backlog.relieve(self._link.queued_bytes):
            await self._link.wait_writable()
        self._relieves_waiters = False

    def _on_malformed(self, what: str) -> None:
        logger.info("ignored what %s sent: %s", self._member.sid, what)
        if not self._malformed_limiter.allow(self._backend.current_time()):
            self._member.disconnect(
                DisconnectReason.STATE_MISMATCH,
                f"it sent more than {self._malformed_limiter.limit} malformed messages, "
                f"the last being {what}",
            )


def _flush(receivers: dict[Member, None]) -> None:
    """Send what was queued for members, and forget them."""
    for receiver in receivers:
        receiver.send_queue.flush_nowait()
    receivers.clear()
