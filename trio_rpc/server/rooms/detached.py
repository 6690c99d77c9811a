"""The members of a room that have lost their connection and may resume (rule L6)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from attrs import define, field
from livekit.protocol import models

from ...errors import DisconnectReason
from ...links import Frame, Link
from ...protocol.receipts import Receipts
from .member import Member

#: Seconds that a sender waits for room in the queue of a member without a connection. Most
#: connections are back by then, and the sender's own calls are not late yet.
_PATIENCE: Final = 2.0


@define(eq=False)
class DetachedMembers:
    """The members of a room without a connection, and the times at which they expire.

    They are not announced as having left. Packets for them wait in their queues, and so do senders
    without room in one of these, but not for long: then the member leaves. Otherwise it would hold
    up whoever sends something to all. Packets for a member that cannot resume are lost.

    Args:
        leave: Removes a member from the room.
    """

    _leave: Callable[[Member], None]
    # The first to expire comes first, since all have the same window.
    _expiries: dict[Member, float] = field(init=False, factory=dict[Member, float])

    def add(self, member: Member, expires_at: float) -> None:
        """Detach a member from its connection.

        Args:
            expires_at: The time at which the member leaves, on the event loop's clock.
        """
        if member.resumable is not None:
            member.resumable.detach()
            member.send_queue = member.resumable
        member.is_detached = True
        member.disconnect_reason = DisconnectReason.CONNECTION_TIMEOUT
        member.on_disconnect = lambda: self._leave(member)
        member.backlog.patience = _PATIENCE
        member.backlog.on_impatience = lambda: self._leave(member)
        # What was on the link is not in the queue any more, but retained.
        member.backlog.relieve(0)
        self._expiries[member] = expires_at

    def attach(
        self, member: Member, link: Link, greeting: list[Frame], had: Mapping[str, int]
    ) -> None:
        """Attach a member to another link.

        Args:
            greeting: The first frames on the link.
            had: The number of the last packet that it has from each publisher, by SID.

        Raises:
            NotRetainedError: it lacks packets that are not retained any more; it remains detached,
                for its next session to replace it.
            LinkClosedError: the link has ended already.
        """
        assert member.resumable is not None
        member.resumable.attach(link, greeting, lambda packet: _is_had(packet, had))
        member.send_queue = link
        member.receipts = Receipts()
        member.is_detached = False
        member.disconnect_reason = DisconnectReason.UNKNOWN_REASON
        member.backlog.patience = math.inf
        member.backlog.on_impatience = lambda: None
        del self._expiries[member]

    def remove(self, member: Member) -> None:
        """Forget a member that has left the room."""
        if self._expiries.pop(member, None) is not None:
            if member.resumable is not None:
                member.resumable.close("the participant has left the room")
            member.backlog.close()

    def expire(self, now: float) -> float:
        """Remove the members that have expired; return the next expiry, or infinity."""
        while self._expiries:
            member, expires_at = next(iter(self._expiries.items()))
            if expires_at > now:
                return expires_at
            self._leave(member)
        return math.inf


def _is_had(packet: models.DataPacket, had: Mapping[str, int]) -> bool:
    return packet.sequence <= had.get(packet.participant_sid, 0)
