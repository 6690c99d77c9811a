"""The sender of our packets to the room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from livekit.protocol import models, rtc

from .. import concurrency
from ..protocol.limits import MAX_PACKET_BYTES
from . import Channel, Frame, LinkClosedError, LinkFullError, new_frame

#: Refreshes the time-dependent fields of a packet that has waited to be queued.
Refresh = Callable[[models.DataPacket], None]

_RELIABLE: Final = models.DataPacket.RELIABLE


class SendQueue(Protocol):
    """The part of a link that sends; see `Link`."""

    def send_nowait(self, frame: Frame) -> None: ...
    def flush_nowait(self) -> None: ...
    async def wait_writable(self) -> None: ...
    async def wait_sent(self) -> None: ...


class PacketSender:
    """The sending half of a session.

    Attributes:
        round_trip: Seconds to the server and back, as last measured; 0 before that.
        joins: The number of times that the room was joined. Packets that belong together, such as
            those of a stream, are sent after the same join or not at all.
    """

    def __init__(self, link: SendQueue, us: models.ParticipantInfo) -> None:
        self.round_trip = 0.0
        self.joins = 1
        self._stamp_bytes = _stamp_bytes(us)
        self._link = link
        self._last_sequence = 0

    def restart(self, us: models.ParticipantInfo) -> None:
        """Number packets from 1 again: the room was joined again, under another SID."""
        self.joins += 1
        self._stamp_bytes = _stamp_bytes(us)
        self._last_sequence = 0

    def send_signal(self, request: rtc.SignalRequest) -> None:
        """Queue a signalling message.

        Raises:
            LinkFullError: the queue is full.
            LinkClosedError: the connection is lost.
        """
        self._link.send_nowait(Frame(Channel.SIGNAL, request.SerializeToString()))

    def send_nowait(self, packet: models.DataPacket, max_bytes: int = MAX_PACKET_BYTES) -> bool:
        """Number a reliable packet and queue it (rule P6); return whether it was small enough.

        Raises:
            LinkFullError: the queue is full.
            LinkClosedError: the connection is lost.
        """
        is_reliable = packet.kind == _RELIABLE
        if is_reliable:
            packet.sequence = self._last_sequence + 1
        # Measured as it is sent: measuring serialises it anyway.
        body = packet.SerializeToString()
        if len(body) > max_bytes:
            return False
        channel = Channel.RELIABLE if is_reliable else Channel.LOSSY
        self._link.send_nowait(new_frame((channel, body)))
        if is_reliable:
            self._last_sequence += 1
        return True

    async def send(self, packet: models.DataPacket, refresh: Refresh | None = None) -> None:
        """Wait for room in the queue, and queue a packet.

        If this is cancelled while it waits, nothing was queued.

        Args:
            refresh: Called with the packet before each further try.

        Raises:
            ValueError: the packet is larger than a packet may be (P7).
            LinkClosedError: the connection is lost.
        """
        max_bytes = MAX_PACKET_BYTES - self._stamp_bytes
        try:
            was_sent = self.send_nowait(packet, max_bytes)
        except (LinkFullError, LinkClosedError):
            was_sent = await self.send_within(max_bytes, packet, refresh)
        if not was_sent:
            size = packet.ByteSize() + self._stamp_bytes
            raise ValueError(
                f"it makes a packet of {size:,} bytes, over the limit of {MAX_PACKET_BYTES:,}"
            )

    async def send_within(
        self, max_bytes: int, packet: models.DataPacket, refresh: Refresh | None = None
    ) -> bool:
        """Send a packet of at most `max_bytes`; return whether it was sent.

        Raises:
            LinkClosedError: the connection is lost.
        """
        while True:
            try:
                return self.send_nowait(packet, max_bytes)
            except LinkFullError:
                await self._link.wait_writable()
                if refresh is not None:
                    refresh(packet)
            except LinkClosedError:
                # A cancellation comes first: it may have ended the session and the link.
                await concurrency.current().checkpoint()
                raise

    def flush_nowait(self) -> None:
        """Send what is queued at once; for when nothing else will come in this tick."""
        self._link.flush_nowait()


def _stamp_bytes(us: models.ParticipantInfo) -> int:
    """Return the bytes that the server's stamps (P5) may add to a packet."""
    stamped = models.DataPacket(
        participant_identity=us.identity,
        participant_sid=us.sid,
        user=models.UserPacket(participant_identity=us.identity, participant_sid=us.sid),
    )
    return stamped.ByteSize()
