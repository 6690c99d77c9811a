"""Packets that were sent and may have to be sent again (rules L4 and L5).

A connection that breaks loses what was in flight. So the reliable packets of a session are retained
until the other side is known to have them, and sent again, in order, when the session resumes
without them. No I/O.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence

from attrs import Factory, define
from livekit.protocol import models

from .receipts import RETAINED_OVERHEAD, InvalidReceiptError


class NotRetainedError(Exception):
    """Packets that the other side lacks are not retained any more: nothing can resume."""


@define(eq=False)
class RetainedPackets:
    """The reliable packets of one direction, from the first that may be missing.

    They are retained as the messages in which they were sent, and a message until all its packets
    have arrived: that costs a call less than a packet would.

    Args:
        packets_in: Returns the packets of a message.
        max_bytes: The limit. Beyond it, the oldest messages are dropped, and no resume is possible
            until the other side is known to have them.

    Attributes:
        retained_bytes: The memory of the retained messages.
    """

    packets_in: Callable[[bytes], Sequence[bytes]]
    max_bytes: int
    retained_bytes: int = 0
    # Messages, with the number of packets of each
    _messages: deque[tuple[bytes, int]] = Factory(deque[tuple[bytes, int]])
    # Of the packets of the present connection: those sent, those that are not retained any more,
    # and those known to have arrived
    _sent: int = 0
    _dropped: int = 0
    _arrived: int = 0

    def __len__(self) -> int:
        return self._sent - self._dropped

    def add(self, message: bytes, packets: int) -> None:
        """Retain a message that is being sent, unless it has no packets."""
        if packets:
            self._messages.append((message, packets))
            self._sent += packets
            self.retained_bytes += len(message) + RETAINED_OVERHEAD
            if self.retained_bytes > self.max_bytes:
                self._drop()

    def on_arrived(self, count: int) -> None:
        """Drop the messages whose packets have arrived.

        Args:
            count: The number that have arrived over the present connection.

        Raises:
            InvalidReceiptError: the number is larger than that of the packets sent.
        """
        if count > self._sent:
            what = f"{count:,} packets are said to have arrived, of {self._sent:,} sent"
            raise InvalidReceiptError(what)
        self._arrived = max(self._arrived, count)
        self._drop()

    def missed(self, has_arrived: Callable[[models.DataPacket], bool]) -> list[bytes]:
        """Return the packets to send first on another connection, in order.

        Args:
            has_arrived: Whether the other side says that it has a packet. Packets arrive in order,
                so all before one that has arrived have arrived too.

        Raises:
            NotRetainedError: the other side lacks packets that are not retained any more.
        """
        packets = [each for message, _ in self._messages for each in self.packets_in(message)]
        # Part of the first message may be known to have arrived.
        known = max(self._arrived - self._dropped, 0)
        arrived = bisect_left(
            packets, True, known, key=lambda packet: not has_arrived(_parsed(packet))
        )
        if not arrived and self._arrived < self._dropped:
            raise NotRetainedError(
                f"more than {self.max_bytes:,} bytes of packets were in flight: the first of them "
                "are not retained any more"
            )
        return packets[arrived:]

    def clear(self) -> None:
        """Forget all packets: those that were missed are sent over another connection."""
        self._messages.clear()
        self.retained_bytes = self._sent = self._dropped = self._arrived = 0

    def _drop(self) -> None:
        """Drop the messages whose packets have arrived, and the oldest ones beyond the limit."""
        messages = self._messages
        while messages:
            message, packets = messages[0]
            if self._dropped + packets > self._arrived and self.retained_bytes <= self.max_bytes:
                break
            messages.popleft()
            self.retained_bytes -= len(message) + RETAINED_OVERHEAD
            self._dropped += packets


def _parsed(packet: bytes) -> models.DataPacket:
    return models.DataPacket.FromString(packet)
