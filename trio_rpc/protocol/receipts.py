"""The count of packets that have arrived, as the other side is told (rule L5). No I/O."""

from __future__ import annotations

from typing import Final

from attrs import define

#: Bytes of packets after which the other side is told that they have arrived, at the latest.
RECEIPT_BYTES: Final = 512 * 1024
#: What a packet costs whoever retains it, besides its bytes.
RETAINED_OVERHEAD: Final = 64
_COUNT_BYTES: Final = 8


class InvalidReceiptError(ValueError):
    """A receipt that cannot be; the text says why."""


@define(eq=False)
class Receipts:
    """The reliable packets that have arrived over a connection.

    Attributes:
        count: How many have arrived.
    """

    count: int = 0
    _told_count: int = 0
    _untold_bytes: int = 0

    def add(self, size: int) -> bool:
        """Count a packet that has arrived; return whether the other side should be told now.

        Args:
            size: The size of the packet, in bytes.
        """
        self.count += 1
        self._untold_bytes += size + RETAINED_OVERHEAD
        return self._untold_bytes >= RECEIPT_BYTES

    def take(self) -> bytes | None:
        """Return the receipt to send now; None if the other side knows already."""
        if self.count == self._told_count:
            return None
        self._told_count = self.count
        self._untold_bytes = 0
        return self.count.to_bytes(_COUNT_BYTES, "little")


def read_receipt(receipt: bytes) -> int:
    """Return how many packets have arrived at the other side over this connection.

    Raises:
        InvalidReceiptError: it is no receipt.
    """
    if len(receipt) != _COUNT_BYTES:
        raise InvalidReceiptError(f"a receipt of {len(receipt):,} bytes, not {_COUNT_BYTES}")
    return int.from_bytes(receipt, "little")
