"""Routing in a room: the receivers of a packet, and the response to one that goes to nobody.

Nothing here waits: receivers without room are returned, and the sender's session waits to offer the
packet again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from attrs import define, field
from livekit.protocol import models, rtc

from ...errors import RpcError
from ...links import Channel, Frame, LinkClosedError, LinkFullError, new_frame
from ...protocol.limits import MAX_PACKET_BYTES
from ...protocol.logs import peer_logger
from ...protocol.packets import MalformedPacketError, parse_packet
from ...protocol.rpc_messages import rpc_ack, rpc_response
from .directed_streams import OpenStream, TooManyStreamsError
from .member import FULL, Member, Routed, ServerCall
from .publisher import ServerPublisher
from .routing import (
    ANSWERS,
    RPC_KINDS,
    TO_NOBODY,
    answered_id,
    begins_answer,
    begun_stream,
    destinations_of,
    follow_stream,
    is_cancellation,
    request_id,
    stamped,
)

logger = peer_logger(__name__)

_Reason = rtc.RequestResponse.Reason


@define(eq=False)
class PacketRouter:
    """The routing of packets from one member of a room to others.

    Args:
        room: The name of the room.
        members: The members of the room, by identity.
        callers: The server's own calls to members, by the caller's identity.
        publisher: The numbers of the server's own packets.
        max_queue_bytes: The capacity of a member's queue; a member whose queue is more than half
            full is behind (B8).
    """

    _room: str
    _members: Mapping[str, Member]
    _callers: Mapping[str, ServerCall]
    _publisher: ServerPublisher
    _max_queue_bytes: int
    _half: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._half = self._max_queue_bytes // 2

    def route(self, sender: Member, channel: Channel, body: bytes) -> Routed:
        """Route a packet to its destinations, or to everybody else if it names none (V2).

        Permission, sequence and size are checked first (B9). It is stamped with its sender, for
        which the server vouches (P5).

        Raises:
            MalformedPacketError: the packet cannot be routed, and was dropped; perhaps it is too
                large once it is stamped (P7).
        """
        packet, kind = parse_packet(body)
        if denied_reason := (
            not sender.permissions.may_send
            and sender.permissions.publish_denied_reason(sender.identity)
        ):
            return self._refuse(sender, packet, kind, _Reason.NOT_ALLOWED, denied_reason)
        if channel is Channel.RELIABLE and not packet.sequence:
            # From an older SDK of LiveKit's. Receivers need a number to report what they have.
            body = self._number(sender, packet, body)
        if not sender.sequences.is_new(packet.sequence):
            # Dropped here: its receiver may have been replaced by one that cannot recognise it.
            logger.debug("ignored a packet of %s that came before", sender.identity)
            return TO_NOBODY
        if kind == "user" or packet.participant_identity or packet.participant_sid:
            body = stamped(packet, kind, sender, channel)
        else:
            # Fields may come in any order: appending the stamp saves serialising the packet again.
            body += sender.stamp
        if len(body) > MAX_PACKET_BYTES:
            raise MalformedPacketError(
                f"a packet of {len(body):,} bytes once stamped, over the limit of "
                f"{MAX_PACKET_BYTES:,}"
            )
        frame = new_frame((channel, body))
        if kind not in RPC_KINDS:
            return self._route_content(sender, packet, kind, frame)
        destinations = packet.destination_identities
        if len(destinations) != 1:
            raise MalformedPacketError(
                f"an {kind} that names {len(destinations)} destinations: it names exactly one (P4)"
            )
        if kind == "rpc_request":
            return self._route_request(sender, destinations[0], packet.rpc_request.id, frame)
        return self._route_directed(sender, destinations[0], packet, kind, frame)

    def _number(self, sender: Member, packet: models.DataPacket, body: bytes) -> bytes:
        """Give a packet without a number the next one; return the serialised packet."""
        packet.sequence = sender.sequences.highest + 1
        return body + models.DataPacket(sequence=packet.sequence).SerializeToString()

    def _route_content(
        self, sender: Member, packet: models.DataPacket, kind: str, frame: Frame
    ) -> Routed:
        """Route a packet of a stream, or an application's."""
        destinations = destinations_of(packet, kind, sender.directed_streams)
        try:
            stream = follow_stream(packet, kind, destinations, sender)
        except TooManyStreamsError as error:
            return self._refuse(sender, packet, kind, _Reason.LIMIT_EXCEEDED, str(error))
        if destinations is not None and len(destinations) == 1:
            if stream is not None and stream.answers and stream.destinations == (*destinations,):
                return self._route_rest_of_answer(sender, stream, kind, frame)
            return self._route_directed(sender, destinations[0], packet, kind, frame)
        return self._route_to_many(sender, destinations, frame)

    def _route_directed(
        self,
        sender: Member,
        identity: str,
        packet: models.DataPacket,
        kind: str,
        frame: Frame,
    ) -> Routed:
        is_answer = kind in ANSWERS
        if not is_answer:
            if of_request := request_id(packet, kind):
                return self._route_request(sender, identity, of_request, frame)
            is_answer = begins_answer(packet, kind)
        if identity in self._callers:
            self._callers[identity].on_packet(sender.identity, packet, kind)
            return TO_NOBODY
        receiver = self._members.get(identity)
        is_owed = is_answer and sender.debts.pay(identity)
        if receiver is None or receiver is sender:
            return TO_NOBODY
        if not (is_owed or is_cancellation(packet, kind)):
            return self._route_to_one(sender, receiver, frame)
        if kind not in ANSWERS and (stream := begun_stream(packet, kind, sender)):
            stream.answers = answered_id(packet, kind)
        # Charged to the caller: callees must not wait for a caller that does not read.
        cause = receiver if is_owed else sender
        queued = receiver.offer(frame, cause)
        if queued <= self._half:
            return receiver.reached
        return self._call_behind(receiver, frame, cause, queued)

    def _route_request(self, sender: Member, identity: str, call_id: str, frame: Frame) -> Routed:
        callee = self._members.get(identity)
        if callee is None or callee.permissions.hidden:
            what = f"no participant {identity!r} is in room {self._room!r}"
        elif callee is sender:
            what = f"{identity!r} cannot call itself"
        else:
            callee.debts.incur(sender.identity)
            # If it is leaving, its caller will get an update about it.
            queued = callee.offer(frame, sender)
            if queued <= self._half:
                return callee.reached
            return self._call_behind(callee, frame, sender, queued)
        error = RpcError.built_in(RpcError.ErrorCode.RECIPIENT_NOT_FOUND, what)
        return self._fail_call(sender, identity, call_id, error)

    def _call_behind(self, receiver: Member, frame: Frame, cause: Member, queued: int) -> Routed:
        """Return the outcome of a call's packet for a member whose queue is more than half full.

        Args:
            queued: The bytes that were queued before, or `FULL`, as `offer` returned them.
        """
        if queued == FULL:
            # A cause that has filled the queue waits for as long as it takes; others briefly.
            brief = cause if cause is receiver or not receiver.holds_back(cause) else None
            return Routed((), held=(receiver,), frame=frame, brief=brief)
        if cause is receiver:
            return receiver.reached
        return Routed((receiver,), behind=(receiver,))

    def _route_rest_of_answer(
        self, sender: Member, stream: OpenStream, kind: str, frame: Frame
    ) -> Routed:
        (identity,) = stream.destinations
        receiver = self._members.get(identity)
        if receiver is None or receiver is sender or stream.broken_off:
            return TO_NOBODY
        # Chunks are not charged to the caller, which has not asked for as much as might come.
        cause = receiver if kind == "stream_trailer" else sender.answering
        if receiver.holds_back(cause) or receiver.offer(frame, cause) == FULL:
            return Routed((), held=(receiver,), frame=frame, brief=cause, answer=stream)
        return receiver.reached

    def drop_brief(
        self, sender: Member, receiver: Member, frame: Frame, answer: OpenStream | None
    ) -> None:
        """Drop a packet of a call for which there was no room, and send the caller 1505.

        Args:
            answer: The stream that the packet belongs to, if that is an answer.
        """
        logger.debug("dropped a packet for %s, which does not read", receiver.identity)
        packet, kind = parse_packet(frame.body)
        what = f"the queue of {receiver.identity!r} is full: it does not read"
        error = RpcError.built_in(RpcError.ErrorCode.SEND_FAILED, what)
        if call_id := request_id(packet, kind):
            receiver.debts.cancel(sender.identity)
            self._fail_call(sender, receiver.identity, call_id, error)
            return
        answer = answer or begun_stream(packet, kind, sender)
        if answer is not None:
            answer.broken_off = True
        if call_id := answered_id(packet, kind) if answer is None else answer.answers:
            # The error takes less room than the answer.
            failure = rpc_response(receiver.identity, call_id, error)
            failure.participant_identity = sender.identity
            self._publisher.number(failure)
            with suppress(LinkFullError, LinkClosedError):
                receiver.send_queue.send_nowait(
                    Frame(Channel.RELIABLE, failure.SerializeToString())
                )

    def _route_to_one(self, sender: Member, receiver: Member | None, frame: Frame) -> Routed:
        if receiver is None or receiver is sender:
            return TO_NOBODY
        queued = receiver.offer(frame, sender)
        if queued <= self._half or frame.channel is Channel.LOSSY:
            return receiver.reached
        if queued == FULL:
            return Routed((), held=(receiver,), frame=frame)
        return Routed((receiver,), behind=(receiver,))

    def _route_to_many(
        self, sender: Member, destinations: Sequence[str] | None, frame: Frame
    ) -> Routed:
        if destinations is None:
            logger.debug("ignored a packet of %s for a stream that is not open", sender.identity)
            return TO_NOBODY
        members = self._members
        named = map(members.get, dict.fromkeys(destinations)) if destinations else members.values()
        receivers: list[Member] = []
        behind: list[Member] = []
        held: list[Member] = []
        for member in named:
            if member is None or member is sender:
                continue
            queued = member.offer(frame, sender)
            if queued == FULL:
                held.append(member)
                continue
            receivers.append(member)
            if queued > self._half and frame.channel is Channel.RELIABLE:
                behind.append(member)
        return Routed(receivers, behind, held, frame)

    def _refuse(
        self,
        sender: Member,
        packet: models.DataPacket,
        kind: str,
        reason: rtc.RequestResponse.Reason,
        why: str,
    ) -> Routed:
        """Send the sender of a packet that goes to nobody the reason."""
        call_id = request_id(packet, kind)
        if call_id and len(packet.destination_identities) == 1:
            error = RpcError.built_in(RpcError.ErrorCode.SEND_FAILED, why)
            return self._fail_call(sender, packet.destination_identities[0], call_id, error)
        refusal = rtc.RequestResponse(reason=reason, message=why)
        sender.tell(rtc.SignalResponse(request_response=refusal))
        return Routed((sender,), behind=(sender,))

    def _fail_call(self, caller: Member, callee: str, call_id: str, error: RpcError) -> Routed:
        """Answer a request with an error in the name of its destination (V3)."""
        # LiveKit's Rust SDK ignores a response that comes before its ack.
        for packet in (
            rpc_ack(caller.identity, call_id),
            rpc_response(caller.identity, call_id, error),
        ):
            packet.participant_identity = callee
            self._publisher.number(packet)
            caller.deliver(Frame(Channel.RELIABLE, packet.SerializeToString()), caller)
        return Routed((caller,), behind=(caller,))
