"""Where what we say leaves for the room."""

from __future__ import annotations

from livekit.protocol import models, rtc

from .limits import MAX_PACKET_BYTES
from .links import Channel, Frame, Link, LinkFullError


class Outlet:
    """The sending half of one stay in a room.

    Attributes:
        round_trip: Seconds to the server and back, as last measured; 0 before that.
    """

    def __init__(self, link: Link, us: models.ParticipantInfo) -> None:
        self.round_trip = 0.0
        self._stamp_bytes = _stamp_bytes(us)
        self._link = link
        self._last_sequence = 0

    def send_signal(self, request: rtc.SignalRequest) -> None:
        """Queue a signalling message.

        Raises:
            LinkFullError: the queue is full.
            LinkClosedError: the connection is lost.
        """
        self._link.send_nowait(Frame(Channel.SIGNAL, request.SerializeToString()))

    def send_nowait(self, packet: models.DataPacket) -> None:
        """Number a reliable packet and queue it (rule P6).

        Raises:
            LinkFullError: the queue is full; `wait_writable` tells when to try again.
            LinkClosedError: the connection is lost.
        """
        if packet.kind == models.DataPacket.RELIABLE:
            packet.sequence = self._last_sequence + 1
            self._link.send_nowait(Frame(Channel.RELIABLE, packet.SerializeToString()))
            self._last_sequence += 1
        else:
            self._link.send_nowait(Frame(Channel.LOSSY, packet.SerializeToString()))

    async def wait_writable(self) -> None:
        """Wait until it is worth trying again after a `LinkFullError`."""
        await self._link.wait_writable()

    async def send(self, packet: models.DataPacket) -> None:
        """Queue a packet, after waiting for room in the queue.

        Cancelled while it waits, nothing was queued.

        Raises:
            ValueError: the packet is larger than a packet may be (P7).
            LinkClosedError: the connection is lost.
        """
        size = packet.ByteSize() + self._stamp_bytes
        if size > MAX_PACKET_BYTES:
            raise ValueError(
                f"it makes a packet of {size:,} bytes, over the limit of {MAX_PACKET_BYTES:,}"
            )
        while True:
            try:
                return self.send_nowait(packet)
            except LinkFullError:
                await self.wait_writable()


def _stamp_bytes(us: models.ParticipantInfo) -> int:
    """What our number and the server's stamps (P5) may add to a packet on its way."""
    stamped = models.DataPacket(
        participant_identity=us.identity,
        participant_sid=us.sid,
        sequence=2**32 - 1,
        user=models.UserPacket(participant_identity=us.identity, participant_sid=us.sid),
    )
    return stamped.ByteSize()
