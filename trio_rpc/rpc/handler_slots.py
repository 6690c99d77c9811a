"""A bounded number of handlers at a time, and the requests that wait for one to end (A13, B5).

Requests of one caller wait in the order in which they came, without a task of their own; callers
take turns. The last eighth of the slots is for callers who hold few of them, so nobody can take all
of them. No I/O: releasing a slot returns the request that has it next.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from typing import Final, Generic, Protocol, TypeVar

#: One slot in so many is kept for callers who hold few.
_KEPT: Final = 8


class TooManyWaitingError(Exception):
    """The limit of waiting requests of one caller is reached; the text has the limit."""


class _Request(Protocol):
    @property
    def caller(self) -> str: ...


R = TypeVar("R", bound=_Request)


class HandlerSlots(Generic[R]):
    """The slots in which handlers run, and the requests that wait for one.

    Args:
        slots: The handlers that may run at a time.
        max_waiting: The requests of one caller that may wait.
    """

    def __init__(self, slots: int, max_waiting: int) -> None:
        self._free = slots
        self._kept = slots // _KEPT
        self._max_waiting = max_waiting
        self._running_of: defaultdict[str, int] = defaultdict(int)
        # By caller, the one whose turn it is first; of each, the oldest first. Not dicts, whose
        # first entry is slow to find once many were removed.
        self._waiting_of: OrderedDict[str, OrderedDict[R, None]] = OrderedDict()

    def reserve(self, request: R) -> bool:
        """Reserve a slot, which `release` has to follow, or queue the request for one.

        Returns:
            Whether there is a slot; if not, a later `release` returns the request.

        Raises:
            TooManyWaitingError: the most requests of its caller that may wait are waiting.
        """
        caller = request.caller
        waiting = self._waiting_of.get(caller)
        if waiting is None:
            if self._free > self._kept or self._has_slot_for(caller):
                self._free -= 1
                self._running_of[caller] += 1
                return True
            waiting = self._waiting_of[caller] = OrderedDict()
        elif len(waiting) >= self._max_waiting:
            raise TooManyWaitingError(
                f"{len(waiting):,} requests of this caller wait for a handler, which is the limit "
                "(max_waiting_requests)"
            )
        waiting[request] = None
        return False

    def release(self, request: R) -> R | None:
        """Free a slot, or hand it to the oldest request of the caller whose turn it is."""
        running = self._running_of[request.caller] - 1
        if running:
            self._running_of[request.caller] = running
        else:
            del self._running_of[request.caller]
        self._free += 1
        if not self._waiting_of:
            return None
        for caller, waiting in self._waiting_of.items():
            if self._has_slot_for(caller):
                next_request, _ = waiting.popitem(last=False)
                self._waiting_of.move_to_end(caller)
                if not waiting:
                    del self._waiting_of[caller]
                self._free -= 1
                self._running_of[caller] += 1
                return next_request
        return None

    def remove(self, request: R) -> None:
        """Remove a request that waits, if it does."""
        waiting = self._waiting_of.get(request.caller)
        if waiting is not None and request in waiting:
            del waiting[request]
            if not waiting:
                del self._waiting_of[request.caller]

    def _has_slot_for(self, caller: str) -> bool:
        if self._free > self._kept:
            return True
        share = self._kept // max(len(self._running_of), 1)
        return self._free > 0 and self._running_of.get(caller, 0) < max(share, 1)
