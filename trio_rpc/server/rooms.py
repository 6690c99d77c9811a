"""A room on the server: who is in it, and who gets what from whom.

Nothing here waits or knows a socket: packets and requests come in as values, and what follows from
them is queued in the members' mailboxes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from livekit.protocol import models, rtc

from ..errors import RpcError
from ..events import DisconnectReason
from ..limits import MAX_PACKET_BYTES, utf8_length
from ..links import Channel, Frame
from ..packets import MalformedPacketError, parse_packet, rpc_response
from ..participant import ParticipantPermissions
from ..rpc_streams import REQUEST_TOPIC, request_id_of
from .limits import ServerLimits
from .members import Member, make_sid, signal_frame

logger = logging.getLogger(__name__)

_RPC_KINDS: Final = frozenset({"rpc_request", "rpc_ack", "rpc_response"})
_Reason = rtc.RequestResponse.Reason


class ServerRoom:
    """A room, as the server has it.

    Args:
        name: What its participants' tokens call it.
        on_empty: Called when the last member is gone.
    """

    def __init__(self, name: str, limits: ServerLimits, on_empty: Callable[[], None]) -> None:
        self.name = name
        self.sid = make_sid("RM")
        self.metadata = ""
        self.members: dict[str, Member] = {}
        self._limits = limits
        self._on_empty = on_empty
        self._created_at = time.time()

    def info(self) -> models.Room:
        """What its participants are told of it."""
        return models.Room(
            sid=self.sid,
            name=self.name,
            metadata=self.metadata,
            creation_time=int(self._created_at),
            creation_time_ms=int(self._created_at * 1000),
            max_participants=self._limits.max_participants_per_room,
            num_participants=sum(1 for _ in self._visible()),
        )

    # Coming and going

    def join(self, member: Member, join: rtc.JoinResponse) -> None:
        """Let a member in, in place of one with the same identity (V5), and tell everybody.

        Args:
            join: What the server says of itself; the room adds what it knows.
        """
        previous = self.members.get(member.identity)
        # In its place at once: the room must not be empty, and so forgotten, in between.
        self.members[member.identity] = member
        join.room.CopyFrom(self.info())
        join.participant.CopyFrom(member.info())
        join.other_participants.extend(
            other.info() for other in self._visible() if other is not member
        )
        member.tell(rtc.SignalResponse(join=join))
        if previous is not None:
            previous.dismiss(
                DisconnectReason.DUPLICATE_IDENTITY,
                f"another participant joined as {member.identity!r}",
            )
            previous.state = models.ParticipantInfo.DISCONNECTED
            self._announce(previous, to_itself=False)
        self._announce(member, to_itself=False)

    def leave(self, member: Member) -> None:
        """A member is gone; it may have been replaced or removed before."""
        if self.members.get(member.identity) is not member:
            return
        del self.members[member.identity]
        if not self.members:
            self._on_empty()
        member.state = models.ParticipantInfo.DISCONNECTED
        # Should this be too much for one who does not read, that one leaves in here.
        self._announce(member, to_itself=False)

    def _visible(self) -> Iterable[Member]:
        return (each for each in self.members.values() if not each.permissions.hidden)

    def _announce(self, member: Member, *, to_itself: bool = True) -> None:
        """Tell everybody how a member is now (V6), a hidden one only itself (V4)."""
        member.version += 1
        update = rtc.ParticipantUpdate(participants=[member.info()])
        frame = signal_frame(rtc.SignalResponse(update=update))
        if not member.permissions.hidden:
            others = (each for each in self.members.values() if each.identity != member.identity)
            self._deliver(frame, others)
        if to_itself:
            member.deliver(frame)

    # Data packets

    def route(self, sender: Member, channel: Channel, body: bytes) -> Sequence[Member]:
        """Bring a packet to those whom it names, or to everybody else (V2).

        Returns:
            Those who were sent bulk data, which its sender should give them time to take.

        Raises:
            MalformedPacketError: it is no packet that can be routed; it was dropped.
        """
        packet = parse_packet(body)
        kind = packet.WhichOneof("value")
        # Older SDKs name the destinations of user data inside of it.
        destinations = packet.destination_identities or packet.user.destination_identities
        if kind in _RPC_KINDS and len(destinations) != 1:
            raise MalformedPacketError(
                f"an {kind} that names {len(destinations)} destinations: it names exactly one (P4)"
            )
        if not sender.sequences.is_new(packet.sequence):
            # Its receiver may be another one by now, who could not know.
            logger.debug("ignored a packet of %s that came before", sender.identity)
            return ()
        request_id = _request_id(packet, kind)
        if obstacle := sender.permissions.obstacle_to_sending(sender.identity):
            self._refuse(sender, destinations, request_id, obstacle)
            return ()
        packet.participant_identity = sender.identity
        packet.participant_sid = sender.sid
        if kind == "user":
            packet.user.participant_identity = sender.identity
            packet.user.participant_sid = sender.sid
        frame = Frame(channel, packet.SerializeToString())
        if len(frame.body) > MAX_PACKET_BYTES:
            raise MalformedPacketError(
                f"a packet of {len(frame.body):,} bytes once stamped, over the limit of "
                f"{MAX_PACKET_BYTES:,}"
            )
        if request_id and len(destinations) == 1:
            self._route_request(sender, destinations[0], request_id, frame)
            return ()
        members = self.members
        named = map(members.get, dict.fromkeys(destinations)) if destinations else members.values()
        receivers = [each for each in named if each is not None and each is not sender]
        self._deliver(frame, receivers)
        return receivers if kind == "stream_chunk" else ()

    def _route_request(self, sender: Member, identity: str, request_id: str, frame: Frame) -> None:
        destination = self.members.get(identity)
        if destination is None or destination.permissions.hidden:
            what = f"no participant {identity!r} is in room {self.name!r}"
        elif destination is sender:
            what = f"{identity!r} cannot call itself"
        else:
            self._deliver(frame, (destination,))
            return
        error = RpcError.built_in(RpcError.ErrorCode.RECIPIENT_NOT_FOUND, what)
        self._fail_call(sender, identity, request_id, error)

    def _refuse(
        self, sender: Member, destinations: Sequence[str], request_id: str, obstacle: str
    ) -> None:
        if request_id and destinations:
            error = RpcError.built_in(RpcError.ErrorCode.SEND_FAILED, obstacle)
            self._fail_call(sender, destinations[0], request_id, error)
        else:
            refusal = rtc.RequestResponse(reason=_Reason.NOT_ALLOWED, message=obstacle)
            sender.tell(rtc.SignalResponse(request_response=refusal))

    def _fail_call(self, caller: Member, callee: str, request_id: str, error: RpcError) -> None:
        """Answer a request in place of its destination (V3), whose answer the caller waits for."""
        response = rpc_response(caller.identity, request_id, error)
        response.participant_identity = callee
        caller.deliver(Frame(Channel.RELIABLE, response.SerializeToString()))

    def _deliver(self, frame: Frame, members: Iterable[Member]) -> None:
        for member in tuple(members):
            member.deliver(frame)
            if member.dismissed is not None:
                self.leave(member)

    # Changes

    def change(
        self,
        member: Member,
        *,
        name: str | None = None,
        metadata: str | None = None,
        attributes: dict[str, str] | None = None,
        permissions: ParticipantPermissions | None = None,
    ) -> None:
        """Change what others see of a member, and tell everybody; what is None stays.

        Raises:
            ValueError: it is larger than the limits allow; nothing was changed.
        """
        limits = self._limits
        merged = member.merge_attributes(attributes or {})
        attributes_size = sum(utf8_length(key) + utf8_length(merged[key]) for key in merged)
        _check_size("a name", utf8_length(name or ""), limits.max_name_bytes)
        _check_size("metadata", utf8_length(metadata or ""), limits.max_metadata_bytes)
        _check_size("all attributes together", attributes_size, limits.max_metadata_bytes)
        member.name = member.name if name is None else name
        member.metadata = member.metadata if metadata is None else metadata
        member.attributes = merged
        member.permissions = permissions or member.permissions
        self._announce(member)

    def change_metadata(self, metadata: str) -> None:
        """Change the text that belongs to the room, and tell everybody.

        Raises:
            ValueError: it is larger than the limits allow; nothing was changed.
        """
        _check_size("metadata", utf8_length(metadata), self._limits.max_metadata_bytes)
        self.metadata = metadata
        update = rtc.SignalResponse(room_update=rtc.RoomUpdate(room=self.info()))
        self._deliver(signal_frame(update), self.members.values())


def _request_id(packet: models.DataPacket, kind: str | None) -> str:
    """The id of the request that a packet is, or begins as a stream; `""` if it does neither."""
    if kind == "rpc_request":
        return packet.rpc_request.id
    if kind == "stream_header" and packet.stream_header.topic == REQUEST_TOPIC:
        return request_id_of(dict(packet.stream_header.attributes))
    return ""


def _check_size(what: str, size: int, limit: int) -> None:
    if size > limit:
        raise ValueError(f"{what} of {size:,} UTF-8 bytes, over the limit of {limit:,}")
