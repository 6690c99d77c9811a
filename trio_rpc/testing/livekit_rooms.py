"""Rooms that behave as on LiveKit's server, where those of this library are more helpful.

Each behaviour is that of livekit-server 1.13.5.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
from weakref import WeakSet

from attrs import define, field
from livekit.protocol import models, rtc

from .. import concurrency
from ..errors import RpcError
from ..links import Channel, Frame
from ..participant import ParticipantKind, ParticipantPermissions
from ..protocol.limits import utf8_length
from ..protocol.logs import peer_logger
from ..protocol.packets import MalformedPacketError, parse_packet
from ..server.limits import ServerLimits
from ..server.rooms.announcer import Announcer
from ..server.rooms.backlog import SERVER, Cause
from ..server.rooms.member import Member, Routed, SendQueue, make_sid
from ..server.rooms.room import RoomSettings, ServerRoom
from ..server.rooms.router import PacketRouter
from ..server.rooms.routing import TO_NOBODY
from ..server.rooms.sizes import check_size

logger = peer_logger(__name__)

#: Seconds between the announcements of participants that publish nothing.
BATCH_INTERVAL: Final = 3.0
#: Seconds and bytes for which packets are kept for a participant whose channels are not open yet.
_KEPT_SECONDS: Final = 2.0
_KEPT_BYTES: Final = 100_000
#: The most bytes of a participant's attributes; its metadata may be larger.
_MAX_ATTRIBUTES_BYTES: Final = 64 * 1024


@define(eq=False)
class LiveKitAnnouncer(Announcer):
    """The announcements of participants: at once if they publish a track, else in batches.

    A change of name, metadata, attributes or permissions is announced at once in any case. A batch
    leaves out what was superseded before it.
    """

    # Descriptions for the next batch, by identity
    _batch: dict[str, models.ParticipantInfo] = field(
        init=False, factory=dict[str, models.ParticipantInfo]
    )
    # From the first call of `announce_due` on
    _batch_due_at: float = field(init=False, default=math.inf)

    def joined(self, member: Member) -> None:
        member.version += 1
        self._push(member.info(), member)

    activated = joined

    def publishes(self, member: Member) -> None:
        """Announce at once, from now on, a member that publishes a track."""
        member.is_publisher = True
        # It is announced as soon as it is active.
        if member.state == models.ParticipantInfo.ACTIVE:
            self.joined(member)

    def changed(self, member: Member, cause: Cause) -> Sequence[Member]:
        self._batch.pop(member.identity, None)
        return super().changed(member, cause)

    def left(self, departed: Sequence[Member], ends: Sequence[models.ParticipantInfo]) -> None:
        del ends
        for member in departed:
            self._push(_end_of(member), member)

    def replaced(
        self, previous: Member, member: Member, ends: Sequence[models.ParticipantInfo]
    ) -> None:
        """Announce the next session of a participant alone.

        It is announced at once where the end of the last one would have been in the next batch.
        """
        del ends
        self._batch.pop(previous.identity, None)
        if not (previous.is_publisher or previous.permissions.hidden):
            self._batch[previous.identity] = _end_of(previous)
        self.joined(member)

    def announce_due(self, now: float) -> float:
        if now >= self._batch_due_at:
            infos = [*self._batch.values()]
            self._batch.clear()
            self.send(infos, self._members.values(), SERVER)
        elif self._batch_due_at < math.inf:
            return self._batch_due_at
        self._batch_due_at = now + BATCH_INTERVAL
        return self._batch_due_at

    def _push(self, info: models.ParticipantInfo, member: Member) -> None:
        if member.permissions.hidden:
            return
        waiting = self._batch.pop(info.identity, None)
        if info.is_publisher or (waiting is not None and waiting.sid != info.sid):
            self.send([info], self._members.values(), SERVER)
        else:
            self._batch[info.identity] = info


def _end_of(member: Member) -> models.ParticipantInfo:
    """Return the description of a participant that has left, with all details."""
    info = member.info()
    info.disconnect_reason = member.departure().disconnect_reason
    return info


class LiveKitRouter(PacketRouter):
    """The routing of packets, of which some are dropped, and nobody is told."""

    def route(self, sender: Member, channel: Channel, body: bytes) -> Routed:
        packet, kind = parse_packet(body)
        last = sender.sequences.highest
        if channel is Channel.RELIABLE and 0 < packet.sequence <= last:
            logger.info(
                "dropped a packet of %s with the number %d, after %d",
                sender.identity,
                packet.sequence,
                last,
            )
            return TO_NOBODY
        if sender.permissions.hidden and sender.permissions.can_publish_data:
            return self._route_of_hidden(sender, channel, packet, kind)
        return super().route(sender, channel, body)

    def _route_of_hidden(
        self, sender: Member, channel: Channel, packet: models.DataPacket, kind: str
    ) -> Routed:
        """Route a packet whose sender is not named: nobody can answer."""
        sender.sequences.is_new(packet.sequence)
        destinations = packet.destination_identities
        packet.participant_identity, packet.participant_sid = "", sender.sid
        if kind == "user":
            destinations = destinations or packet.user.destination_identities
            packet.user.participant_identity = packet.user.participant_sid = ""
        return self._route_to_many(sender, destinations, Frame(channel, packet.SerializeToString()))

    def _number(self, sender: Member, packet: models.DataPacket, body: bytes) -> bytes:
        """Leave a packet without a number as it is."""
        del sender, packet
        return body

    def _route_content(
        self, sender: Member, packet: models.DataPacket, kind: str, frame: Frame
    ) -> Routed:
        if kind == "metrics" or (
            kind == "transcription" and sender.kind is not ParticipantKind.AGENT
        ):
            logger.debug("dropped a %s of %s", kind, sender.identity)
            return TO_NOBODY
        # No stream is followed: each of its packets goes where it says itself.
        destinations = packet.destination_identities or packet.user.destination_identities
        if len(destinations) == 1:
            return self._route_directed(sender, destinations[0], packet, kind, frame)
        return self._route_to_many(sender, destinations, frame)

    def _route_request(self, sender: Member, identity: str, call_id: str, frame: Frame) -> Routed:
        callee = self._members.get(identity)
        if callee is None or callee is sender or not callee.permissions.hidden:
            return super()._route_request(sender, identity, call_id, frame)
        # A hidden participant can be called by who knows it.
        return self._route_to_one(sender, callee, frame)

    def _fail_call(self, caller: Member, callee: str, call_id: str, error: RpcError) -> Routed:
        del call_id
        logger.debug("dropped a call of %s to %s: %s", caller.identity, callee, error.data)
        return TO_NOBODY

    def _refuse(
        self,
        sender: Member,
        packet: models.DataPacket,
        kind: str,
        reason: rtc.RequestResponse.Reason,
        why: str,
    ) -> Routed:
        del packet, reason
        logger.debug("dropped a %s of %s: %s", kind, sender.identity, why)
        return TO_NOBODY


class _Kept(NamedTuple):
    frame: Frame
    kept_at: float


@define(eq=False)
class JoiningQueue:
    """The send queue of a member whose data channels are not open yet.

    Reliable packets with a number are kept for 2 seconds, and the last 100,000 bytes of them, until
    the channels are open; all other packets are lost. Signalling goes its own way.

    Args:
        link: The queue of its link, which is used once the channels are open.
        now: Returns the time on the event loop's clock, in seconds.
    """

    link: SendQueue
    _now: Callable[[], float]
    _kept: deque[_Kept] = field(init=False, factory=deque[_Kept])
    _kept_bytes: int = field(init=False, default=0)

    def send_nowait(self, frame: Frame, *, flush_follows: bool = False) -> None:
        if frame.channel is Channel.SIGNAL:
            self.link.send_nowait(frame, flush_follows=flush_follows)
        elif frame.channel is Channel.RELIABLE and _is_numbered(frame.body):
            self._kept.append(_Kept(frame, self._now()))
            self._kept_bytes += len(frame.body)
            while self._kept_bytes > _KEPT_BYTES:
                self._kept_bytes -= len(self._kept.popleft().frame.body)

    def take_kept(self) -> list[Frame]:
        """Return the packets that are still kept, which are not kept any more."""
        since = self._now() - _KEPT_SECONDS
        frames = [frame for frame, kept_at in self._kept if kept_at >= since]
        self._forget_kept()
        return frames

    def _forget_kept(self) -> None:
        self._kept.clear()
        self._kept_bytes = 0

    @property
    def queued_bytes(self) -> int:
        return self.link.queued_bytes

    def discard_queued(self) -> None:
        self._forget_kept()
        self.link.discard_queued()

    def flush_nowait(self) -> None:
        self.link.flush_nowait()

    async def wait_writable(self) -> None:
        await self.link.wait_writable()

    async def wait_sent(self) -> None:
        await self.link.wait_sent()


def _is_numbered(body: bytes) -> bool:
    try:
        packet, _ = parse_packet(body)
    except MalformedPacketError:
        return False
    return packet.sequence > 0


class LiveKitRoom(ServerRoom):
    """A room of a `LiveKitLikeServer`.

    Attributes:
        kept: The members that remain for a while when their links end, once they are active: those
            whose link stands for a peer connection, whose loss a server notices late.
    """

    announcer_type = LiveKitAnnouncer
    router_type = LiveKitRouter
    clears_empty = False
    announcer: LiveKitAnnouncer

    def __init__(
        self,
        name: str,
        limits: ServerLimits,
        on_empty: Callable[[], None],
        settings: RoomSettings,
    ) -> None:
        super().__init__(name, limits, on_empty, settings)
        self.kept: WeakSet[Member] = WeakSet()

    def join(self, member: Member, join: rtc.JoinResponse) -> None:
        if member.state != models.ParticipantInfo.ACTIVE:
            member.send_queue = JoiningQueue(member.send_queue, concurrency.current().current_time)
        super().join(member, join)

    def activate(self, member: Member) -> None:
        queue = member.send_queue
        if isinstance(queue, JoiningQueue):
            member.send_queue = queue.link
            for frame in queue.take_kept():
                member.deliver(frame, SERVER)
        super().activate(member)

    def keeps_lost(self, member: Member) -> bool:
        return member in self.kept and member.state == models.ParticipantInfo.ACTIVE

    def change(
        self,
        member: Member,
        *,
        name: str | None = None,
        metadata: str | None = None,
        attributes: dict[str, str] | None = None,
        permissions: ParticipantPermissions | None = None,
        cause: Cause = SERVER,
    ) -> Sequence[Member]:
        """Change the description of a member, and announce it if it is another one then."""
        if (
            name in (None, member.name)
            and metadata in (None, member.metadata)
            and not attributes
            and permissions is None
        ):
            return ()
        merged = member.merge_attributes(attributes or {})
        size = sum(utf8_length(key) + utf8_length(value) for key, value in merged.items())
        check_size("all attributes together", size, _MAX_ATTRIBUTES_BYTES)
        return super().change(
            member,
            name=name,
            metadata=metadata,
            attributes=attributes,
            permissions=permissions,
            cause=cause,
        )

    def publish_data_track(
        self, member: Member, request: rtc.PublishDataTrackRequest
    ) -> rtc.SignalResponse:
        self.announcer.publishes(member)
        track = models.DataTrackInfo(
            pub_handle=request.pub_handle, sid=make_sid("DTR"), name=request.name
        )
        return rtc.SignalResponse(
            publish_data_track_response=rtc.PublishDataTrackResponse(info=track)
        )
