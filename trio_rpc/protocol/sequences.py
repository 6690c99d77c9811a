"""Telling a resent packet from a new one (rule P6)."""

from __future__ import annotations

from typing import Final

from attrs import Factory, define

_WINDOW: Final = 1024
_MAX_PUBLISHERS: Final = 2048
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


@define
class SequenceFilters:
    """A `SequenceFilter` for each publisher, by SID, the gone ones included.

    A packet may come again after its publisher was seen to leave, or after we have left and come
    back. Of many publishers, the ones that were silent for longest are forgotten.
    """

    _filters: dict[str, SequenceFilter] = Factory(dict[str, SequenceFilter])

    def is_new(self, publisher: str, sequence: int) -> bool:
        """Whether `sequence` was not seen before from a publisher; from now on it was."""
        seen = self._filters.pop(publisher, None)
        if seen is None:
            seen = SequenceFilter()
            if len(self._filters) >= _MAX_PUBLISHERS:
                del self._filters[next(iter(self._filters))]
        self._filters[publisher] = seen
        return seen.is_new(sequence)
