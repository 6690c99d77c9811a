"""A participant on the server: its description, its queue and its counters."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

from attrs import define, field
from livekit.protocol import models, rtc

from ...errors import DisconnectReason
from ...links import Channel, Frame, LinkClosedError, LinkFullError, packet_sender
from ...links.frames import FRAME_OVERHEAD
from ...links.resumable import ResumableQueue
from ...participant import ParticipantKind, ParticipantPermissions
from ...protocol.budgets import Budget
from ...protocol.capabilities import CAN_RESUME
from ...protocol.receipts import Receipts
from ...protocol.sequences import SequenceFilter
from ...tokens import Claims
from ..limits import ServerLimits
from .backlog import Backlog, BacklogFullError, Cause
from .debts import Debts
from .directed_streams import DirectedStreams, OpenStream

#: Returned by `Member.offer` for a full queue: more bytes than any queue holds.
FULL: Final = sys.maxsize


class SendQueue(packet_sender.SendQueue, Protocol):
    """The part of a link that is used to reach a member; see `Link`."""

    def send_nowait(self, frame: Frame, *, flush_follows: bool = False) -> None: ...
    @property
    def queued_bytes(self) -> int: ...
    def discard_queued(self) -> None: ...


class ServerCall(Protocol):
    """A call of the server's own, as a room knows it."""

    def on_packet(self, sender: str, packet: models.DataPacket, kind: str) -> None: ...
    def on_departure(self, member: Member) -> None: ...


def make_sid(prefix: str) -> str:
    """Return a new id in LiveKit's format: `PA_` for participants, `RM_` for rooms."""
    return f"{prefix}_{secrets.token_hex(8)}"


class Routed(NamedTuple):
    """The outcome of routing a packet.

    Attributes:
        receivers: The members for whom it was queued.
        behind: Those of them whose queues are more than half full: its cause may have to wait for
            them (B8).
        held: The members without room for it: its cause has to wait, and offer it again.
        frame: The frame to offer to `held`.
        brief: The cause, if the packet belongs to a call, for which the wait is brief; None for any
            other packet.
        answer: The stream that the packet belongs to, if that is an answer.
    """

    receivers: Sequence[Member]
    behind: Sequence[Member] = ()
    held: Sequence[Member] = ()
    frame: Frame | None = None
    brief: Cause | None = None
    answer: OpenStream | None = None


@define(eq=False)
class Member:
    """A participant of a room, with the queue to it.

    Attributes:
        send_queue: The frames on their way to the participant: those of its link, or without one
            those that wait for the next.
        on_disconnect: Called when the participant is disconnected, and ends its session.
        close_reason: The reason of being disconnected, for people; None while in the room.
        disconnect_reason: The reason of having left, as LiveKit names it.
        last_received: The time of the last message, on the event loop's clock.
        limits: The limits of the server.
        budget: Charged for everything that the participant makes the server hold (B4).
        backlog: The backlog of its queue, by cause (B8).
        last_sid: The SID of its last session, if it has joined again (L7).
        sequences: The filter of packets that are sent again (P6).
        directed_streams: The destinations of its open streams.
        is_publisher: Whether it publishes a track; always False where there are none.
        server_calls: The server's own calls to it.
        debts: The acks and answers that it has yet to send, by caller.
        answering: The cause that is charged for the chunks of its answers: they were asked for, and
            the participant's own calls do not wait for callers that do not read.
        impatient_until: The time until which no packet of a call waits for the participant, since
            an earlier one waited in vain.
        stamp: The serialised fields that its packets are stamped with (P5).
        reached: The outcome of routing a packet to the participant alone: most packets have it.
        resumable: The send queue that outlives its links; None for a client that cannot
            resume (L6).
        is_detached: Whether the participant has no connection at present.
        on_replaced: Ends the participant's connection, for another one to replace it; takes the
            reason.
        receipts: The receipts for the reliable packets of its connection (L5).
    """

    identity: str
    name: str
    metadata: str
    attributes: dict[str, str]
    kind: ParticipantKind
    permissions: ParticipantPermissions
    client: models.ClientInfo
    send_queue: SendQueue
    sid: str = field(factory=lambda: make_sid("PA"))
    last_sid: str = ""
    joined_at: float = field(factory=time.time)
    version: int = 1
    state: models.ParticipantInfo.State = models.ParticipantInfo.ACTIVE
    on_disconnect: Callable[[], None] = lambda: None
    close_reason: str | None = None
    disconnect_reason: DisconnectReason = DisconnectReason.UNKNOWN_REASON
    last_received: float = 0.0
    limits: ServerLimits = field(factory=ServerLimits)
    budget: Budget = field(factory=Budget)
    backlog: Backlog = field(init=False)
    sequences: SequenceFilter = field(factory=SequenceFilter)
    directed_streams: DirectedStreams = field(init=False)
    is_publisher: bool = False
    server_calls: dict[ServerCall, None] = field(factory=dict["ServerCall", None])
    debts: Debts = field(factory=Debts)
    answering: Cause = field(factory=object)
    impatient_until: float = 0.0
    stamp: bytes = field(init=False)
    reached: Routed = field(init=False)
    resumable: ResumableQueue | None = None
    is_detached: bool = False
    on_replaced: Callable[[str], Awaitable[None]] = field(init=False)
    receipts: Receipts = field(factory=Receipts)

    def __attrs_post_init__(self) -> None:
        self.backlog = Backlog(self.limits.max_queue_bytes)
        self.directed_streams = DirectedStreams(self.sid, self.budget, self.limits.max_open_streams)
        self.reached = Routed((self,))
        self.stamp = models.DataPacket(
            participant_identity=self.identity, participant_sid=self.sid
        ).SerializeToString()

    @classmethod
    def from_claims(
        cls,
        claims: Claims,
        client: models.ClientInfo,
        send_queue: SendQueue,
        resumable: ResumableQueue | None,
        limits: ServerLimits,
        budget: Budget,
    ) -> Member:
        """Return the participant that an access token describes."""
        grants = claims.grants
        return cls(
            identity=claims.identity,
            name=claims.name,
            metadata=claims.metadata,
            attributes=dict(claims.attributes),
            kind=ParticipantKind[claims.kind.upper()],
            permissions=ParticipantPermissions(
                can_publish_data=bool(grants.can_publish_data),
                can_update_metadata=bool(grants.can_update_own_metadata),
                hidden=grants.hidden,
                can_subscribe=bool(grants.can_subscribe),
                can_publish=bool(grants.can_publish),
            ),
            client=client,
            send_queue=send_queue,
            limits=limits,
            budget=budget,
            resumable=resumable,
        )

    @property
    def calls_outlive_session(self) -> bool:
        """Whether calls go on when the participant has joined again (L7, L8)."""
        return CAN_RESUME in self.client.capabilities

    def info(self) -> models.ParticipantInfo:
        """Return the description that others get."""
        return models.ParticipantInfo(
            sid=self.sid,
            identity=self.identity,
            state=self.state,
            metadata=self.metadata,
            joined_at=int(self.joined_at),
            joined_at_ms=int(self.joined_at * 1000),
            name=self.name,
            version=self.version,
            permission=self.permissions.to_proto(),
            is_publisher=self.is_publisher,
            kind=self.kind.name,
            attributes=self.attributes,
            client_protocol=self.client.client_protocol,
            capabilities=self.client.capabilities,
        )

    def departure(self) -> models.ParticipantInfo:
        """Return the description of a participant that has left, without any details."""
        return models.ParticipantInfo(
            sid=self.sid,
            identity=self.identity,
            state=models.ParticipantInfo.DISCONNECTED,
            version=self.version,
            kind=self.kind.name,
            disconnect_reason=self.disconnect_reason.name,
        )

    def merge_attributes(self, changes: Mapping[str, str]) -> dict[str, str]:
        """Return the attributes after `changes`, in which an empty value deletes the key (V7)."""
        merged = {**self.attributes, **changes}
        return {key: value for key, value in merged.items() if value}

    @property
    def _is_leaving(self) -> bool:
        """Whether the participant gets nothing more, though it may still be in the room."""
        return self.close_reason is not None or self.backlog.closed

    def offer(self, packet: Frame, cause: Cause) -> int:
        """Queue a packet, unless too much is queued already; `flush_nowait` has to follow.

        Args:
            cause: The cause to charge.

        Returns:
            The bytes that were queued before; `FULL` if the packet was not queued and has
            to wait.
        """
        backlog = self.backlog
        if self.close_reason is not None or backlog.closed:
            return 0
        send_queue = self.send_queue
        queued = send_queue.queued_bytes
        if queued > backlog.packet_limit and packet.channel is Channel.RELIABLE:
            return FULL
        try:
            send_queue.send_nowait(packet, flush_follows=True)
        except LinkFullError:
            return FULL
        except LinkClosedError:
            # Its session gets the same error.
            return 0
        if queued > backlog.charged_from or backlog.charged:
            self._charge(packet, cause, queued)
        return queued

    def deliver(self, frame: Frame, cause: Cause) -> int:
        """Queue a frame that cannot wait; disconnect the participant if the queue is full (V8).

        Args:
            cause: The cause to charge.

        Returns:
            The bytes that were queued before.
        """
        if self._is_leaving:
            return 0
        send_queue = self.send_queue
        queued = send_queue.queued_bytes
        try:
            send_queue.send_nowait(frame)
        except LinkFullError as error:
            self.send_queue.discard_queued()
            self.disconnect(DisconnectReason.STATE_MISMATCH, f"it does not read: {error}")
        except LinkClosedError:
            # Its session gets the same error.
            return 0
        else:
            if queued > self.backlog.charged_from or self.backlog.charged:
                self._charge(frame, cause, queued)
        return queued

    def _charge(self, frame: Frame, cause: Cause, queued_before: int) -> None:
        queued = self.send_queue.queued_bytes
        size = len(frame.body) + FRAME_OVERHEAD
        # A lossy packet may have been dropped, and frames may have left at once.
        if queued != queued_before and queued >= size:
            self.backlog.charge(cause, size, queued)

    def holds_back(self, cause: Cause) -> bool:
        """Whether a cause has to wait before it sends more to the participant (B8)."""
        return self.close_reason is None and self.backlog.holds_back(
            cause, self.send_queue.queued_bytes
        )

    def check_room(self, size: int) -> None:
        """Check that a frame would not have to wait.

        Args:
            size: The size of the frame, in bytes.

        Raises:
            BacklogFullError: too much is queued for the participant.
        """
        queued = self.send_queue.queued_bytes
        if not self._is_leaving and not self.backlog.has_room(size, queued):
            raise BacklogFullError(self.identity, self.backlog, size)

    def send_receipt(self) -> None:
        """Send the participant a receipt, if packets have arrived since the last one."""
        if self.resumable is not None and (receipt := self.receipts.take()) is not None:
            with suppress(LinkFullError, LinkClosedError):
                self.send_queue.send_nowait(Frame(Channel.RECEIPT, receipt))

    def tell(self, response: rtc.SignalResponse) -> None:
        """Queue a signalling message that the participant itself has caused."""
        self.deliver(signal_frame(response), self)

    def disconnect(self, reason: DisconnectReason, text: str, *, joins_again: bool = False) -> None:
        """Send the participant a reason, and end its session; its queue is still sent.

        Args:
            reason: The reason, as LiveKit names it.
            text: The close reason, for people.
            joins_again: Whether its client is asked to join again.
        """
        if self.close_reason is not None:
            return
        self.close_reason = text
        self.disconnect_reason = reason
        leave = leave_request(reason, joins_again=joins_again)
        with suppress(LinkFullError, LinkClosedError):
            self.send_queue.send_nowait(signal_frame(rtc.SignalResponse(leave=leave)))
        self.on_disconnect()


def leave_request(reason: DisconnectReason, *, joins_again: bool) -> rtc.LeaveRequest:
    """Return the server's message that a session has ended.

    Args:
        reason: The reason, as LiveKit names it.
        joins_again: Whether the client is asked to join again.
    """
    action = rtc.LeaveRequest.RECONNECT if joins_again else rtc.LeaveRequest.DISCONNECT
    return rtc.LeaveRequest(reason=reason.name, action=action, can_reconnect=joins_again)


def signal_frame(response: rtc.SignalResponse) -> Frame:
    """Return the frame of a signalling message, serialised once for all its receivers."""
    return Frame(Channel.SIGNAL, response.SerializeToString())
