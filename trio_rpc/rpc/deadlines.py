"""Deadlines of many items, most of which are discarded before their deadlines pass. No I/O."""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Iterator
from itertools import count
from typing import Final, Generic, TypeVar

#: The discarded entries that the heap may hold, besides as many as there are live ones.
_STALE_ENTRIES: Final = 64

T = TypeVar("T", bound=Hashable)


class Deadlines(Generic[T]):
    """Items with a deadline each; the earliest is found at once, and discarding one is O(1)."""

    def __init__(self) -> None:
        self._alive: set[T] = set()
        # The entry of a discarded item is dropped when it comes up.
        self._heap: list[tuple[float, int, T]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._alive)

    def __iter__(self) -> Iterator[T]:
        return iter(self._alive)

    def __contains__(self, thing: T) -> bool:
        return thing in self._alive

    def add(self, thing: T, deadline: float) -> bool:
        """Add an item; return whether its deadline is the earliest."""
        is_earliest = deadline < self.earliest()
        self._alive.add(thing)
        heapq.heappush(self._heap, (deadline, next(self._order), thing))
        return is_earliest

    def discard(self, thing: T) -> None:
        """Discard an item, if it is here."""
        self._alive.discard(thing)
        if len(self._heap) > 2 * len(self._alive) + _STALE_ENTRIES:
            self._heap = [entry for entry in self._heap if entry[2] in self._alive]
            heapq.heapify(self._heap)

    def earliest(self) -> float:
        """Return the earliest deadline; infinite if there is none."""
        heap = self._heap
        while heap and heap[0][2] not in self._alive:
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf

    def pop_expired(self, now: float) -> list[T]:
        """Remove and return the items whose deadline has passed, the earliest first."""
        expired: list[T] = []
        while self.earliest() <= now:
            thing = heapq.heappop(self._heap)[2]
            self._alive.discard(thing)
            expired.append(thing)
        return expired
