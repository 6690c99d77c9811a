"""Packets that were sent and may have to be sent again (rules L4 and L5).

A connection that breaks loses what was in flight. So the reliable packets of a session are retained
until the other side is known to have them, and sent again, in order, when the session resumes
without them. No I/O.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable
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
    # Counts of packets, from the session's first: those before the first that is retained, those
    # known to have arrived, and those before the first of the present connection.
    _before: int = 0
    _arrived: int = 0
    _before_connection: int = 0

    def __len__(self) -> int:
        return len(self._packets)

    def add(self, packet: bytes) -> None:
        """Retain a serialised packet that is being sent."""
        self._packets.append(packet)
        self.retained_bytes = held = self.retained_bytes + len(packet) + RETAINED_OVERHEAD
        if held > self.max_bytes:
            self._drop_excess()

    def _drop_excess(self) -> None:
        while self.retained_bytes > self.max_bytes:
            self._drop_first(1)

    def on_arrived(self, count: int) -> None:
        """Drop the packets that have arrived.

        Args:
            count: The number that have arrived over the present connection.

        Raises:
            InvalidReceiptError: the number is larger than that of the packets sent.
        """
        arrived = self._before_connection + count
        sent = self._before + len(self._packets)
        if arrived > sent:
            of = sent - self._before_connection
            raise InvalidReceiptError(f"{count:,} packets are said to have arrived, of {of:,} sent")
        self._drop_arrived(arrived)

    def _drop_arrived(self, arrived: int) -> None:
        self._arrived = max(self._arrived, arrived)
        if arrived > self._before:
            self._drop_first(arrived - self._before)

    def missed(self, has_arrived: Callable[[models.DataPacket], bool]) -> list[bytes]:
        """Return the packets to send first on another connection, in order; drop the others.

        Args:
            has_arrived: Whether the other side says that it has a packet. Packets arrive in order,
                so all before one that has arrived have arrived too.

        Raises:
            NotRetainedError: the other side lacks packets that are not retained any more.
        """
        packets = list(self._packets)
        arrived = bisect_left(packets, True, key=lambda packet: not has_arrived(_parsed(packet)))
        if not arrived and self._arrived < self._before:
            raise NotRetainedError(
                f"more than {self.max_bytes:,} bytes of packets were in flight: the first of them "
                "are not retained any more"
            )
        self._drop_arrived(self._before + arrived)
        self._before_connection = self._before
        return packets[arrived:]

    def _drop_first(self, count: int) -> None:
        # In one go: every packet that is sent is dropped here some time.
        take_first = self._packets.popleft
        dropped = [take_first() for _ in range(count)]
        self.retained_bytes -= sum(map(len, dropped)) + count * RETAINED_OVERHEAD
        self._before += count


def _parsed(packet: bytes) -> models.DataPacket:
    return models.DataPacket.FromString(packet)
