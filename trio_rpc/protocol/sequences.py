"""Sequence filters, which tell a resent packet from a new one (rule P6)."""

from __future__ import annotations

from itertools import islice
from typing import Final

from attrs import Factory, define

_WINDOW: Final = 1024
_MAX_PUBLISHERS: Final = 2048
_MASK: Final = (1 << _WINDOW) - 1


@define
class SequenceFilter:
    """A sliding anti-replay window over one publisher's sequence numbers, as in DTLS.

    It holds the highest number and, as one integer, which of the 1,024 below it were seen: numbers
    may have gaps (packets for others) and may come out of order. Numbers older than the window
    count as seen.
    """

    _highest: int = 0
    _seen: int = 0

    @property
    def highest(self) -> int:
        """The highest number seen; 0 if none was."""
        return self._highest

    def is_new(self, sequence: int) -> bool:
        """Whether `sequence` was not seen before; it is recorded as seen.

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


@define
class SequenceFilters:
    """A `SequenceFilter` for each publisher, by SID, those that have left included.

    A packet may be resent after its publisher was seen to leave, or after we left and joined again.
    Of many publishers, the ones silent for longest are forgotten.
    """

    _filters: dict[str, SequenceFilter] = Factory(dict[str, SequenceFilter])
    # The last of them, and its publisher: many packets of one come in a row
    _last: SequenceFilter | None = None
    _last_publisher: str = ""

    def highest(self, most: int) -> dict[str, int]:
        """Return the highest number seen of each publisher, by SID (L3).

        Args:
            most: The most publishers: those who have sent something last.
        """
        latest = islice(reversed(self._filters.items()), most)
        return {publisher: seen.highest for publisher, seen in latest}

    def is_new(self, publisher: str, sequence: int) -> bool:
        """Whether `sequence` was not seen before from a publisher; it is recorded as seen."""
        seen = self._last
        if seen is None or publisher != self._last_publisher:
            seen = self._filters.pop(publisher, None)
            if seen is None:
                seen = SequenceFilter()
                if len(self._filters) >= _MAX_PUBLISHERS:
                    del self._filters[next(iter(self._filters))]
            self._filters[publisher] = self._last = seen
            self._last_publisher = publisher
        return seen.is_new(sequence)
