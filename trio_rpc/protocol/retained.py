"""Packets that were sent and may have to be sent again (rules L4 and L5).

A connection that breaks loses what was in flight. So the reliable packets of a session are retained
until the other side is known to have them, and sent again, in order, when the session resumes
without them. No I/O.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from attrs import Factory, define
from livekit.protocol import models

from .receipts import RETAINED_OVERHEAD, InvalidReceiptError

#: Bytes of packets that are retained, unless set otherwise.
DEFAULT_MAX_RETAINED_BYTES: Final = 8 * 1024 * 1024


class NotRetainedError(Exception):
    """Packets that the other side lacks are not retained any more: nothing can resume."""


@define(eq=False)
class RetainedPackets:
    """The reliable packets of one direction, from the first that may be missing.

    Args:
        max_bytes: The limit. Beyond it, the oldest packets are dropped, and no resume is possible
            until the other side is known to have them.

    Attributes:
        retained_bytes: The memory of the retained packets.
    """

    max_bytes: int = DEFAULT_MAX_RETAINED_BYTES
    retained_bytes: int = 0
    _packets: deque[bytes] = Factory(deque[bytes])
    # Of the packets of the present connection: those that are not retained any more, and those
    # known to have arrived
    _dropped: int = 0
    _arrived: int = 0

    def __len__(self) -> int:
        return len(self._packets)

    def add(self, packets: Sequence[bytes]) -> None:
        """Retain serialised packets that are being sent."""
        self._packets.extend(packets)
        self.retained_bytes += sum(map(len, packets)) + len(packets) * RETAINED_OVERHEAD
        while self.retained_bytes > self.max_bytes:
            self._drop_first(1)

    def on_arrived(self, count: int) -> None:
        """Drop the packets that have arrived.

        Args:
            count: The number that have arrived over the present connection.

        Raises:
            InvalidReceiptError: the number is larger than that of the packets sent.
        """
        sent = self._dropped + len(self._packets)
        if count > sent:
            what = f"{count:,} packets are said to have arrived, of {sent:,} sent"
            raise InvalidReceiptError(what)
        self._arrived = max(self._arrived, count)
        if count > self._dropped:
            self._drop_first(count - self._dropped)

    def missed(self, has_arrived: Callable[[models.DataPacket], bool]) -> list[bytes]:
        """Return the packets to send first on another connection, in order.

        Args:
            has_arrived: Whether the other side says that it has a packet. Packets arrive in order,
                so all before one that has arrived have arrived too.

        Raises:
            NotRetainedError: the other side lacks packets that are not retained any more.
        """
        packets = list(self._packets)
        arrived = bisect_left(packets, True, key=lambda packet: not has_arrived(_parsed(packet)))
        if not arrived and self._arrived < self._dropped:
            raise NotRetainedError(
                f"more than {self.max_bytes:,} bytes of packets were in flight: the first of them "
                "are not retained any more"
            )
        return packets[arrived:]

    def clear(self) -> None:
        """Forget all packets: those that were missed are sent over another connection."""
        self._packets.clear()
        self.retained_bytes = self._dropped = self._arrived = 0

    def _drop_first(self, count: int) -> None:
        # In one go: every packet that is sent is dropped here some time.
        take_first = self._packets.popleft
        dropped = [take_first() for _ in range(count)]
        self.retained_bytes -= sum(map(len, dropped)) + count * RETAINED_OVERHEAD
        self._dropped += count


def _parsed(packet: bytes) -> models.DataPacket:
    return models.DataPacket.FromString(packet)
