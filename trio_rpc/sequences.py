"""Telling a resent packet from a new one (rule P6)."""

from __future__ import annotations

from typing import Final

from attrs import define

_WINDOW: Final = 1024
_MASK: Final = (1 << _WINDOW) - 1


@define
class SequenceFilter:
    """The sequence numbers already seen from one publisher.

    Remembers the highest and which of the 1,024 below it were seen, as one integer: numbers may
    have gaps (packets for others) and may come out of order. What is older than the window counts
    as seen.
    """

    _highest: int = 0
    _seen: int = 0

    def is_new(self, sequence: int) -> bool:
        """Whether `sequence` was not seen before; from now on it was.

        0 means that the packet has no number, which is always new.
        """
        if sequence == 0:
            return True
        ahead = sequence - self._highest
        if ahead > 0:
            shifted = self._seen << ahead if ahead < _WINDOW else 0
            self._seen = (shifted | 1) & _MASK
            self._highest = sequence
            return True
        if ahead <= -_WINDOW:
            return False
        bit = 1 << -ahead
        if self._seen & bit:
            return False
        self._seen |= bit
        return True
