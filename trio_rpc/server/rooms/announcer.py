"""Updates about the members of a room, and their receivers (V6)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from attrs import define, field
from livekit.protocol import models, rtc

from ...links import Frame
from .backlog import SERVER, Cause
from .member import Member, signal_frame


@define(eq=False)
class Announcer:
    """The announcements of members to each other: each change, at once (V6).

    Hidden members are announced to nobody but themselves (V4).

    Args:
        members: The members of the room, by identity.
        max_queue_bytes: The capacity of a member's queue.
    """

    _members: Mapping[str, Member]
    _max_queue_bytes: int
    _half: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._half = self._max_queue_bytes // 2

    def joined(self, member: Member) -> None:
        """Announce a member that has joined to the others."""
        self._announce(member, self.told_of(member, to_itself=False), member)

    def replaced(
        self, previous: Member, member: Member, ends: Sequence[models.ParticipantInfo]
    ) -> None:
        """Announce a participant's next session in one update with the end of its last (L8).

        Args:
            previous: The member of the last session.
            ends: The description of `previous` for the others; empty if it was hidden.
        """
        del previous
        member.version += 1
        infos = [*ends] if member.permissions.hidden else [*ends, member.info()]
        self.send(infos, self._others_than(member), member)

    def activated(self, member: Member) -> None:
        """Announce that packets reach a member from now on."""
        self._announce(member, self.told_of(member), member)

    def changed(self, member: Member, cause: Cause) -> Sequence[Member]:
        """Announce the present description of a member.

        Args:
            cause: The cause to charge for the updates.

        Returns:
            The receivers whose queues are more than half full.
        """
        return self._announce(member, self.told_of(member), cause)

    def left(self, departed: Sequence[Member], ends: Sequence[models.ParticipantInfo]) -> None:
        """Announce members that have left, in one update (B10).

        Args:
            departed: The members.
            ends: The descriptions of those of them that are not hidden.
        """
        del departed
        self.send(ends, self._members.values(), SERVER)

    def announce_due(self, now: float) -> float:
        """Announce what is due by now; return the time of what is due next: here, nothing."""
        del now
        return math.inf

    def told_of(self, member: Member, *, to_itself: bool = True) -> Iterable[Member]:
        """Return the members that are told of one."""
        if member.permissions.hidden:
            return (member,) if to_itself else ()
        return self._members.values() if to_itself else self._others_than(member)

    def _others_than(self, member: Member) -> Iterable[Member]:
        return (each for each in self._members.values() if each is not member)

    def _announce(
        self, member: Member, receivers: Iterable[Member], cause: Cause
    ) -> Sequence[Member]:
        member.version += 1
        return self.send([member.info()], receivers, cause)

    def send(
        self, infos: Sequence[models.ParticipantInfo], receivers: Iterable[Member], cause: Cause
    ) -> Sequence[Member]:
        """Send descriptions in one update, if there are any; see `deliver`."""
        if not infos:
            return ()
        update = rtc.ParticipantUpdate(participants=infos)
        return self.deliver(signal_frame(rtc.SignalResponse(update=update)), receivers, cause)

    def deliver(self, frame: Frame, receivers: Iterable[Member], cause: Cause) -> list[Member]:
        """Queue a frame that cannot wait; return the receivers whose queues are over half full."""
        half = self._half
        return [member for member in receivers if member.deliver(frame, cause) > half]
