"""Shares of a bounded resource, and whether one is fair.

A share is fair if the total would be within the limit, were no share larger (max-min fairness):
small shares leave the rest to the others. If the limit were divided by the number of shares, a
crowd with next to nothing each could make every other share unfair.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from attrs import define, field

#: Shares are counted by the number of bits of their size; no limit has more bits than this.
_CLASSES: Final = 64


@define
class Shares:
    """The shares of a bounded resource, by owner.

    Args:
        limit: The most of all fair shares together.
    """

    _limit: int
    _of: dict[Hashable, int] = field(init=False, factory=dict[Hashable, int])
    # By class: the number of such shares, and their total
    _counts: list[int] = field(init=False, factory=lambda: [0] * _CLASSES)
    _totals: list[int] = field(init=False, factory=lambda: [0] * _CLASSES)

    def add(self, owner: Hashable, size: int) -> None:
        """Increase a share by `size`, or decrease it where `size` is negative."""
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
        """Whether an owner has a fair share at most."""
        share = self._of.get(owner, 0)
        if share * len(self._of) <= self._limit:
            return True
        own = share.bit_length()
        # An upper bound of its own class's total.
        together = min(self._totals[own], share * self._counts[own])
        together += sum(self._totals[:own]) + share * sum(self._counts[own + 1 :])
        return together <= self._limit

    def clear(self) -> None:
        """Forget all shares."""
        self._of.clear()
        self._counts = [0] * _CLASSES
        self._totals = [0] * _CLASSES
