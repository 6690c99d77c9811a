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

    It holds the highest number and, as one integer, which of the 1,023 below it were not seen:
    numbers may have gaps (packets for others) and may come out of order. Mostly they do neither,
    and the integer is 0. Numbers older than the window count as seen.
    """

    _highest: int = 0
    # The bit of 2**n is for the number that is n below the highest
    _missing: int = 0

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
            if self._missing or ahead > 1:
                # Those in between are missing, too.
                ahead = min(ahead, _WINDOW)
                self._missing = (self._missing << ahead | (1 << ahead) - 2) & _MASK
            self._highest = sequence
            return True
        if ahead <= -_WINDOW:
            return False
        bit = 1 << -ahead
        if not self._missing & bit:
            return False
        self._missing ^= bit
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
