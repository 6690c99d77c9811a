"""Receipts: acknowledgements of the packets that have arrived (rule L5). No I/O."""

from __future__ import annotations

from typing import Final

from attrs import define

#: Bytes of packets after which a receipt is sent, at the latest, and the number of packets: small
#: ones are not retained for so long that they leave the processor's cache.
RECEIPT_BYTES: Final = 512 * 1024
RECEIPT_PACKETS: Final = 512
#: Bytes charged for a retained message, besides its own: for the objects that hold it.
RETAINED_OVERHEAD: Final = 100
_COUNT_BYTES: Final = 8


class InvalidReceiptError(ValueError):
    """The receipt is invalid; the text says why."""


@define(eq=False)
class Receipts:
    """The reliable packets that have arrived over a connection.

    Attributes:
        count: The number of packets.
    """

    count: int = 0
    _told_count: int = 0
    _untold_bytes: int = 0

    def add(self, count: int, size: int) -> bool:
        """Count packets that have arrived; return whether to send a receipt now.

        Args:
            count: The number of packets.
            size: The size of all of them, in bytes.
        """
        self.count += count
        self._untold_bytes += size + count * RETAINED_OVERHEAD
        return (
            self._untold_bytes >= RECEIPT_BYTES or self.count - self._told_count >= RECEIPT_PACKETS
        )

    def take(self) -> bytes | None:
        """Return the receipt to send now; None if nothing arrived since the last one."""
        if self.count == self._told_count:
            return None
        self._told_count = self.count
        self._untold_bytes = 0
        return self.count.to_bytes(_COUNT_BYTES, "little")


def read_receipt(receipt: bytes) -> int:
    """Return the number of packets that have arrived at the other side over this connection.

    Raises:
        InvalidReceiptError: the bytes are not a receipt.
    """
    if len(receipt) != _COUNT_BYTES:
        raise InvalidReceiptError(f"a receipt of {len(receipt):,} bytes, not {_COUNT_BYTES}")
    return int.from_bytes(receipt, "little")
