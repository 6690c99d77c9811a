"""A room on the server: who is in it, and who gets what from whom.

Nothing here waits or knows a socket: packets and requests come in as values, and what follows from
them is queued in the members' mailboxes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from attrs import frozen
from livekit.protocol import models, rtc

from ..errors import RpcError
from ..events import DisconnectReason
from ..limits import MAX_PACKET_BYTES, utf8_length
from ..links import Channel, Frame
from ..packets import MalformedPacketError, parse_packet, rpc_ack, rpc_response
from ..participant import ParticipantPermissions
from ..rpc_streams import REQUEST_TOPIC, request_id_of
from .caller import ServerCaller
from .limits import ServerLimits
from .members import Member, make_sid, signal_frame

logger = logging.getLogger(__name__)

_RPC_KINDS: Final = frozenset({"rpc_request", "rpc_ack", "rpc_response"})
_KIND_OF: Final = {
    Channel.RELIABLE: models.DataPacket.RELIABLE,
    Channel.LOSSY: models.DataPacket.LOSSY,
}
_Reason = rtc.RequestResponse.Reason
#: How many nonces of data that the server sent are remembered; LiveKit's server has as many.
_REMEMBERED_NONCES: Final = 100


@frozen(kw_only=True)
class RoomSettings:
    """How a room is to be; the defaults are those of a room that a joining participant makes.

    Attributes:
        empty_timeout: Seconds that it stays before anybody has joined it.
        departure_timeout: Seconds that it stays after everybody has left.
        max_participants: How many may be in it; 0 for as many as the server bears in a room.
    """

    empty_timeout: int = 0
    departure_timeout: int = 0
    max_participants: int = 0


class Routed(NamedTuple):
    """Where a packet went.

    Attributes:
        is_bulk: The sender should give its receivers time to take it.
    """

    receivers: Sequence[Member]
    is_bulk: bool = False


_TO_NOBODY: Final = Routed(())


class ServerRoom:
    """A room, as the server has it.

    Args:
        name: What its participants' tokens call it.
        on_empty: Called when the last member is gone.

    Attributes:
        callers: The calls of the server's own to members, by the identity that they come from.
    """

    def __init__(
        self,
        name: str,
        limits: ServerLimits,
        on_empty: Callable[[], None],
        settings: RoomSettings,
    ) -> None:
        self.name = name
        self.sid = make_sid("RM")
        self.metadata = ""
        self.settings = settings
        self.members: dict[str, Member] = {}
        self.callers: dict[str, ServerCaller] = {}
        self._limits = limits
        self._on_empty = on_empty
        self._created_at = time.time()
        # In order of coming, oldest first
        self._nonces: dict[bytes, None] = {}

    @property
    def max_participants(self) -> int:
        """How many may be in it."""
        limit = self._limits.max_participants_per_room
        return min(self.settings.max_participants or limit, limit)

    def info(self) -> models.Room:
        """What its participants are told of it."""
        return models.Room(
            sid=self.sid,
            name=self.name,
            metadata=self.metadata,
            creation_time=int(self._created_at),
            creation_time_ms=int(self._created_at * 1000),
            empty_timeout=self.settings.empty_timeout,
            departure_timeout=self.settings.departure_timeout,
            max_participants=self.max_participants,
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
            self._announce_departure(previous)
        self._announce(member, to_itself=False)

    def activate(self, member: Member) -> None:
        """A member can be reached from now on."""
        if self.members.get(member.identity) is member:
            member.state = models.ParticipantInfo.ACTIVE
            self._announce(member)

    def leave(self, member: Member) -> None:
        """A member is gone; it may have been replaced or removed before."""
        if self.members.get(member.identity) is not member:
            return
        del self.members[member.identity]
        if not self.members:
            self._on_empty()
        # Should this be too much for one who does not read, that one leaves in here.
        self._announce_departure(member)

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

    def _announce_departure(self, member: Member) -> None:
        for caller in tuple(self.callers.values()):
            caller.on_departure(member)
        member.state = models.ParticipantInfo.DISCONNECTED
        self._announce(member, to_itself=False)

    # Data packets

    def route(self, sender: Member, channel: Channel, body: bytes) -> Routed:
        """Bring a packet to those whom it names, or to everybody else (V2).

        Raises:
            MalformedPacketError: it is no packet that can be routed; it was dropped.
        """
        packet = parse_packet(body)
        kind = packet.WhichOneof("value")
        destinations = _destinations_of(packet, kind, sender)
        if kind in _RPC_KINDS and len(destinations) != 1:
            raise MalformedPacketError(
                f"an {kind} that names {len(destinations)} destinations: it names exactly one (P4)"
            )
        if not sender.sequences.is_new(packet.sequence):
            # Its receiver may be another one by now, who could not know.
            logger.debug("ignored a packet of %s that came before", sender.identity)
            return _TO_NOBODY
        request_id = _request_id(packet, kind)
        if obstacle := sender.permissions.obstacle_to_sending(sender.identity):
            self._refuse(sender, destinations, request_id, obstacle)
            return _TO_NOBODY
        frame = Frame(channel, _stamped(packet, kind, body, sender, channel))
        if len(frame.body) > MAX_PACKET_BYTES:
            raise MalformedPacketError(
                f"a packet of {len(frame.body):,} bytes once stamped, over the limit of "
                f"{MAX_PACKET_BYTES:,}"
            )
        is_bulk = kind == "stream_chunk"
        if len(destinations) == 1:
            # Calls and all that belongs to them.
            identity = destinations[0]
            if request_id:
                return self._route_request(sender, identity, request_id, frame)
            if caller := self.callers.get(identity):
                caller.on_packet(sender.identity, packet)
                return _TO_NOBODY
            return self._route_to_one(sender, identity, frame, is_bulk)
        members = self.members
        named = map(members.get, dict.fromkeys(destinations)) if destinations else members.values()
        receivers = [each for each in named if each is not None and each is not sender]
        self._deliver(frame, receivers)
        return Routed(receivers, is_bulk)

    def _route_to_one(self, sender: Member, identity: str, frame: Frame, is_bulk: bool) -> Routed:
        receiver = self.members.get(identity)
        if receiver is None or receiver is sender:
            return _TO_NOBODY
        self._deliver(frame, (receiver,))
        return Routed((receiver,), is_bulk)

    def send_data(
        self,
        user: models.UserPacket,
        *,
        reliable: bool,
        identities: Iterable[str],
        sids: Iterable[str],
    ) -> None:
        """Bring data of the server's own to the members named, or to everybody.

        Data whose nonce came before is dropped: a client tries again when it missed the answer.

        Raises:
            ValueError: it makes too large a packet.
        """
        named = {*identities}
        named_sids = {*sids}
        packet = models.DataPacket(destination_identities=sorted(named), user=user)
        packet.kind = models.DataPacket.RELIABLE if reliable else models.DataPacket.LOSSY
        frame = Frame(Channel.RELIABLE if reliable else Channel.LOSSY, packet.SerializeToString())
        check_size("a packet", len(frame.body), MAX_PACKET_BYTES, "bytes")
        if user.nonce:
            if user.nonce in self._nonces:
                return
            if len(self._nonces) >= _REMEMBERED_NONCES:
                del self._nonces[next(iter(self._nonces))]
            self._nonces[user.nonce] = None
        everybody = not named and not named_sids
        self._deliver(
            frame,
            (
                each
                for each in self.members.values()
                if everybody or each.identity in named or each.sid in named_sids
            ),
        )

    def _route_request(
        self, sender: Member, identity: str, request_id: str, frame: Frame
    ) -> Routed:
        destination = self.members.get(identity)
        if destination is None or destination.permissions.hidden:
            what = f"no participant {identity!r} is in room {self.name!r}"
        elif destination is sender:
            what = f"{identity!r} cannot call itself"
        else:
            self._deliver(frame, (destination,))
            return Routed((destination,))
        error = RpcError.built_in(RpcError.ErrorCode.RECIPIENT_NOT_FOUND, what)
        self._fail_call(sender, identity, request_id, error)
        return _TO_NOBODY

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
        # LiveKit's Rust SDK does not look at a response before it has the ack.
        for packet in (
            rpc_ack(caller.identity, request_id),
            rpc_response(caller.identity, request_id, error),
        ):
            packet.participant_identity = callee
            caller.deliver(Frame(Channel.RELIABLE, packet.SerializeToString()))

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
        check_size("a name", utf8_length(name or ""), limits.max_name_bytes)
        check_size("metadata", utf8_length(metadata or ""), limits.max_metadata_bytes)
        check_size("all attributes together", attributes_size, limits.max_metadata_bytes)
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
        check_size("metadata", utf8_length(metadata), self._limits.max_metadata_bytes)
        self.metadata = metadata
        update = rtc.SignalResponse(room_update=rtc.RoomUpdate(room=self.info()))
        self._deliver(signal_frame(update), self.members.values())


def _stamped(
    packet: models.DataPacket, kind: str | None, body: bytes, sender: Member, channel: Channel
) -> bytes:
    """The packet of `body`, with what the server vouches for (P5)."""
    if kind == "user":
        # LiveKit's Rust SDK writes the opposite.
        packet.kind = _KIND_OF[channel]
        packet.user.participant_identity = sender.identity
        packet.user.participant_sid = sender.sid
    elif not (packet.participant_identity or packet.participant_sid):
        # Fields may come in any order: appending them saves writing all the others anew.
        return body + sender.stamp
    packet.participant_identity = sender.identity
    packet.participant_sid = sender.sid
    return packet.SerializeToString()


def _destinations_of(packet: models.DataPacket, kind: str | None, sender: Member) -> Sequence[str]:
    """For whom a packet is; empty for everybody."""
    named = packet.destination_identities
    match kind:
        case "user":
            # Older SDKs name them inside of the data.
            return named or packet.user.destination_identities
        case "stream_header":
            sender.directed_streams.on_header(packet.stream_header, named)
        case "stream_chunk":
            return named or sender.directed_streams.of_chunk(packet.stream_chunk.stream_id)
        case "stream_trailer":
            # In any case, or the stream would never be forgotten.
            ended = sender.directed_streams.of_trailer(packet.stream_trailer.stream_id)
            return named or ended
        case _:
            pass
    return named


def _request_id(packet: models.DataPacket, kind: str | None) -> str:
    """The id of the request that a packet is, or begins as a stream; `""` if it does neither."""
    if kind == "rpc_request":
        return packet.rpc_request.id
    if kind == "stream_header" and packet.stream_header.topic == REQUEST_TOPIC:
        return request_id_of(packet.stream_header.attributes)
    return ""


def check_size(what: str, size: int, limit: int, unit: str = "UTF-8 bytes") -> None:
    """Refuse what is too large.

    Raises:
        ValueError: it is.
    """
    if size > limit:
        raise ValueError(f"{what} of {size:,} {unit}, over the limit of {limit:,}")
