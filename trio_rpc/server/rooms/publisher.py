"""The server as the publisher of packets of its own (rule L4)."""

from __future__ import annotations

from attrs import define
from livekit.protocol import models


@define(eq=False)
class ServerPublisher:
    """The server as a publisher: the numbers of its own packets to the members of a room.

    Attributes:
        sid: The SID of the room, which identifies the server as the publisher.
    """

    sid: str
    _last_number: int = 0

    def number(self, packet: models.DataPacket) -> None:
        """Give a reliable packet the next number, by which receivers discard duplicates."""
        self._last_number += 1
        packet.sequence = self._last_number
        packet.participant_sid = self.sid
