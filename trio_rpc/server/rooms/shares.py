"""Who has how much of something that is shared, and whether that is fair.

A share is fair if all would be within the limit, were nobody's larger: those who have little leave
the rest to the others. To divide the limit by how many there are would let a crowd of whom each has
next to nothing make everybody else's share unfair.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from attrs import define, field

#: Shares are counted by how many bits their size has; no limit of ours has more than these.
_CLASSES: Final = 64


@define
class Shares:
    """See the module.

    Args:
        limit: What all have together, when they have fair shares.
    """

    _limit: int
    _of: dict[Hashable, int] = field(init=False, factory=dict[Hashable, int])
    # By class: how many have such a share, and how much these have together
    _counts: list[int] = field(init=False, factory=lambda: [0] * _CLASSES)
    _totals: list[int] = field(init=False, factory=lambda: [0] * _CLASSES)

    def add(self, owner: Hashable, size: int) -> None:
        """Have somebody have more, or less where `size` is negative."""
        before = self._of.get(owner, 0)
        after = before + size
        if before:
            self._count(before, -1)
        if after:
            self._count(after, 1)
            self._of[owner] = after
        else:
            del self._of[owner]

    def _count(self, share: int, sign: int) -> None:
        index = share.bit_length()
        self._counts[index] += sign
        self._totals[index] += sign * share

    def is_fair(self, owner: Hashable) -> bool:
        """Tell whether somebody has no more than a fair share."""
        share = self._of.get(owner, 0)
        if share * len(self._of) <= self._limit:
            return True
        own = share.bit_length()
        # At most what its own class has, or would have, together: too much rather than too little.
        together = min(self._totals[own], share * self._counts[own])
        together += sum(self._totals[:own]) + share * sum(self._counts[own + 1 :])
        return together <= self._limit

    def clear(self) -> None:
        """Forget all shares."""
        self._of.clear()
        self._counts = [0] * _CLASSES
        self._totals = [0] * _CLASSES
