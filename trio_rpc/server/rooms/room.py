"""A room on the server: its members, and updates about them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar, Final

from attrs import frozen
from livekit.protocol import models, rtc

from ...errors import DisconnectReason
from ...links import Frame, Link
from ...participant import ParticipantPermissions
from ...protocol.limits import utf8_length
from ..limits import ServerLimits
from .agents_alone import AgentsAlone
from .announcer import Announcer
from .backlog import SERVER, Cause
from .detached import DetachedMembers
from .member import Member, ServerCall, make_sid, signal_frame
from .publisher import ServerPublisher
from .router import PacketRouter
from .server_data import ServerData
from .sizes import check_description, check_size

#: The most bytes of an update besides the texts that can be large.
_INFO_BYTES: Final = 1_000
#: Seconds that a room lives without participants: before the first, and after the last. LiveKit's
#: defaults.
DEFAULT_EMPTY_TIMEOUT: Final = 300
DEFAULT_DEPARTURE_TIMEOUT: Final = 20
#: The number of departures that are remembered, for those who come back.
_REMEMBERED_DEPARTURES: Final = 100


@frozen(kw_only=True)
class RoomSettings:
    """The settings of a room; the defaults are LiveKit's, for rooms that participants make too.

    Attributes:
        empty_timeout: Seconds that the room lives before the first participant has joined.
        departure_timeout: Seconds that the room lives after the last participant has left.
        max_participants: The most participants; 0 for the server's limit.
    """

    empty_timeout: int = DEFAULT_EMPTY_TIMEOUT
    departure_timeout: int = DEFAULT_DEPARTURE_TIMEOUT
    max_participants: int = 0


class ServerRoom:
    """A room on the server.

    Args:
        name: The name, as in the participants' tokens.
        on_empty: Called when the last member has left.

    Attributes:
        callers: The server's own calls to members, by the caller's identity.
        announcer: The updates about members.
        router: The routing of packets between members.
        data: The data that the server itself sends to them.
    """

    #: Replaced by rooms that behave otherwise.
    announcer_type: ClassVar[type[Announcer]] = Announcer
    router_type: ClassVar[type[PacketRouter]] = PacketRouter
    #: Whether participants of this library can clear their names and metadata (V7).
    clears_empty: ClassVar[bool] = True

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
        self.callers: dict[str, ServerCall] = {}
        self.publisher = ServerPublisher(self.sid)
        self.announcer = self.announcer_type(self.members, limits.max_queue_bytes)
        self.router = self.router_type(
            name, self.members, self.callers, self.publisher, limits.max_queue_bytes
        )
        self._detached = DetachedMembers(self.leave)
        self._limits = limits
        self._on_empty = on_empty
        self._created_at = time.time()
        self._size_changed = False
        self._agents_alone = AgentsAlone()
        self._departures: deque[models.ParticipantInfo] = deque(maxlen=_REMEMBERED_DEPARTURES)
        self.data = ServerData(self.members, self.publisher)

    @property
    def max_participants(self) -> int:
        """The most participants."""
        limit = self._limits.max_participants_per_room
        return min(self.settings.max_participants or limit, limit)

    def info(self) -> models.Room:
        """Return the description of the room for its participants."""
        return models.Room(
            sid=self.sid,
            name=self.name,
            metadata=self.metadata,
            creation_time=int(self._created_at),
            creation_time_ms=int(self._created_at * 1000),
            empty_timeout=self.settings.empty_timeout,
            departure_timeout=self.settings.departure_timeout,
            max_participants=self.settings.max_participants and self.max_participants,
            num_participants=sum(1 for _ in self._visible()),
        )

    # Joining and leaving

    def join(self, member: Member, join: rtc.JoinResponse) -> None:
        """Add a member, in place of one with the same identity (V5), and announce it to the others.

        Args:
            join: The response to the member, with the server's part; the room adds its own.
        """
        previous = self.members.get(member.identity)
        # Replaced at once: an empty room would be removed.
        if previous is None and self.members:
            self._size_changed = True
        self.members[member.identity] = member
        join.room.CopyFrom(self.info())
        join.participant.CopyFrom(member.info())
        join.other_participants.extend(
            other.info() for other in self._visible() if other is not member
        )
        member.tell(rtc.SignalResponse(join=join))
        if previous is not None:
            self._detached.remove(previous)
            previous.disconnect(
                DisconnectReason.DUPLICATE_IDENTITY,
                f"another participant joined as {member.identity!r}",
            )
            self.announcer.replaced(previous, member, self._end_sessions([previous]))
        else:
            self.announcer.joined(member)

    def activate(self, member: Member) -> None:
        """Announce that packets reach a member from now on."""
        if self.members.get(member.identity) is member:
            member.state = models.ParticipantInfo.ACTIVE
            self.announcer.activated(member)

    def keeps_lost(self, member: Member) -> bool:
        """Whether a member remains for a while when its connection is lost (L6)."""
        return member.resumable is not None

    def detach(self, member: Member, expires_at: float) -> None:
        """Keep a member that has lost its connection, for its client to resume (L6).

        Args:
            expires_at: The time at which the member leaves, on the event loop's clock.
        """
        if self.members.get(member.identity) is member:
            self._detached.add(member, expires_at)

    def resume(self, member: Member, link: Link, last_numbers: Mapping[str, int]) -> None:
        """Attach a detached member to another link, and send it what it has missed.

        Args:
            last_numbers: The number of the last packet that it has from each publisher, by SID.

        Raises:
            NotRetainedError: it lacks packets that are not retained any more; it remains detached.
            LinkClosedError: the link has ended already.
        """
        self._detached.attach(member, link, self.greeting(member), last_numbers)

    def greeting(self, member: Member, *, with_departures: bool = False) -> list[Frame]:
        """Return the first frames for a member that resumes: the present state.

        Args:
            with_departures: Whether those who have left lately are listed too; to LiveKit's SDKs,
                whoever is not listed has not left.
        """
        reconnect = rtc.ReconnectResponse(last_message_seq=member.sequences.highest)
        others = [other.info() for other in self._visible() if other is not member]
        departures = [
            each
            for each in (self._departures if with_departures else ())
            if each.identity not in self.members
        ]
        update = rtc.ParticipantUpdate(participants=[*departures, member.info(), *others])
        return [
            signal_frame(rtc.SignalResponse(reconnect=reconnect)),
            signal_frame(rtc.SignalResponse(update=update)),
            signal_frame(rtc.SignalResponse(room_update=rtc.RoomUpdate(room=self.info()))),
        ]

    def expire_detached(self, now: float) -> float:
        """Remove the detached members that have expired.

        Returns:
            The next expiry; infinity if there is none.
        """
        return self._detached.expire(now)

    def leave(self, member: Member) -> None:
        """Remove a member that has left, unless it was replaced or removed before.

        All members that were disconnected are removed with it, and announced in one update: the
        work is one frame for each receiver, and not for each pair (B10).
        """
        if self.members.get(member.identity) is not member:
            return
        departed = [
            each
            for each in self.members.values()
            if each is member or each.close_reason is not None
        ]
        for each in departed:
            del self.members[each.identity]
            self._detached.remove(each)
        self._size_changed = True
        for other in self.members.values():
            other.debts.on_departures(each.identity for each in departed)
        if not self.members:
            self._on_empty()
        self.announcer.left(departed, self._end_sessions(departed))

    def close_if_abandoned(self, now: float) -> None:
        """Disconnect agents that have been alone for too long; called now and then."""
        settings, members = self.settings, tuple(self.members.values())
        timeouts = settings.empty_timeout, settings.departure_timeout
        if members and self._agents_alone.is_over(members, *timeouts, now):
            for member in members:
                member.disconnect(DisconnectReason.ROOM_CLOSED, "only agents were left in the room")
            self.leave(members[0])

    def has_calls_to_lose(self) -> bool:
        """Whether a member has yet to answer a call that does not outlive their sessions (L8)."""
        return any(
            callee.server_calls
            or any(self._may_lose(each, callee) for each in callee.debts.callers)
            for callee in self.members.values()
        )

    def _may_lose(self, identity: str, callee: Member) -> bool:
        caller = self.members.get(identity)
        return caller is not None and not (
            caller.calls_outlive_session and callee.calls_outlive_session
        )

    def stop(self) -> list[Member]:
        """Queue nothing more for the members, and remove those without a connection (L10).

        Returns:
            The remaining members, whose queues are still sent.
        """
        for member in self.members.values():
            member.backlog.close()
        for member in [each for each in self.members.values() if each.is_detached]:
            self.leave(member)
        return list(self.members.values())

    def _visible(self) -> Iterable[Member]:
        return (
            each
            for each in self.members.values()
            if not each.permissions.hidden and each.close_reason is None
        )

    def _end_sessions(self, departed: Sequence[Member]) -> list[models.ParticipantInfo]:
        """End the sessions of members that were removed; return what the others are told."""
        visible: list[models.ParticipantInfo] = []
        for member in departed:
            for call in tuple(member.server_calls):
                call.on_departure(member)
            member.directed_streams.forget_all()
            member.state = models.ParticipantInfo.DISCONNECTED
            member.version += 1
            if not member.permissions.hidden:
                visible.append(member.departure())
        self._departures.extend(visible)
        return visible

    # Changes

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
        """Change the description of a member, and announce it; None leaves a value unchanged.

        Args:
            cause: The cause to charge for the updates.

        Returns:
            The receivers whose queues are more than half full: `cause` may have to wait for them
            (B8).

        Raises:
            ValueError: the change is larger than the limits allow; nothing was changed.
            BacklogFullError: a receiver's queue is full; nothing was changed.
        """
        limits = self._limits
        merged = member.merge_attributes(attributes or {})
        check_size("a name", utf8_length(name or ""), limits.max_name_bytes)
        attributes_size = check_description(metadata or "", merged, limits)
        size = attributes_size + utf8_length(metadata or member.metadata) + _INFO_BYTES
        _check_room(self.announcer.told_of(member), size)
        member.name = member.name if name is None else name
        member.metadata = member.metadata if metadata is None else metadata
        member.attributes = merged
        member.permissions = permissions or member.permissions
        return self.announcer.changed(member, cause)

    def publish_data_track(
        self, member: Member, request: rtc.PublishDataTrackRequest
    ) -> rtc.SignalResponse:
        """Return the response to a member's request for a data track, of which there are none."""
        del member
        refusal = rtc.RequestResponse(
            reason=rtc.RequestResponse.NOT_ALLOWED,
            message="this server has no data tracks, only data streams and packets",
            publish_data_track=request,
        )
        return rtc.SignalResponse(request_response=refusal)

    def change_metadata(self, metadata: str) -> None:
        """Change the text that belongs to the room, and announce it.

        Raises:
            ValueError: the text is larger than the limits allow; nothing was changed.
            BacklogFullError: a receiver's queue is full; nothing was changed.
        """
        check_size("metadata", utf8_length(metadata), self._limits.max_metadata_bytes)
        _check_room(self.members.values(), utf8_length(metadata) + _INFO_BYTES)
        self.metadata = metadata
        self._announce_room()

    def announce_size(self) -> None:
        """Announce the number of participants, if it has changed; called now and then (V6)."""
        if self._size_changed:
            self._announce_room()

    def _announce_room(self) -> None:
        self._size_changed = False
        update = rtc.SignalResponse(room_update=rtc.RoomUpdate(room=self.info()))
        self.announcer.deliver(signal_frame(update), self.members.values(), SERVER)


def _check_room(members: Iterable[Member], size: int) -> None:
    for member in members:
        member.check_room(size)
