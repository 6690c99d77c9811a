"""The server as the publisher of packets of its own (rule L4)."""

from __future__ import annotations

from attrs import define
from livekit.protocol import models


@define(eq=False)
class ServerPublisher:
    """The numbers of the packets that the server sends to members of a room on its own account.

    Attributes:
        sid: The SID of the room, which stands for the server.
    """

    sid: str
    _last_number: int = 0

    def number(self, packet: models.DataPacket) -> None:
        """Give a reliable packet the next number, so that it can be sent again, and only once."""
        self._last_number += 1
        packet.sequence = self._last_number
        packet.participant_sid = self.sid
