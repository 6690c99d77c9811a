"""A bounded number of handlers at a time, and the requests that wait for one to end (A13, B5).

Requests wait in the order in which they came, without a task of their own. No I/O: whoever releases
a slot is handed the request that has it next.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar


class TooManyWaitingError(Exception):
    """A caller has as many requests waiting as it may; the text says how many."""


class _Request(Protocol):
    @property
    def caller(self) -> str: ...


R = TypeVar("R", bound=_Request)


class HandlerSlots(Generic[R]):
    """The slots in which handlers run, and the requests that wait for one.

    Args:
        slots: How many handlers run at a time.
        max_waiting: How many requests of one caller may wait.
    """

    def __init__(self, slots: int, max_waiting: int) -> None:
        self._free = slots
        self._max_waiting = max_waiting
        # The oldest first. Not a dict, whose first entry is slow to find once many were removed.
        self._waiting: OrderedDict[R, None] = OrderedDict()
        self._waiting_of: dict[str, int] = {}

    def reserve(self, request: R) -> bool:
        """Take a slot, for which `release` has to follow, or wait for one.

        Returns:
            Whether there is a slot; if not, a later `release` returns the request.

        Raises:
            TooManyWaitingError: as many requests of its caller wait as may.
        """
        if self._free:
            self._free -= 1
            return True
        waiting = self._waiting_of.get(request.caller, 0)
        if waiting >= self._max_waiting:
            raise TooManyWaitingError(
                f"{waiting:,} requests of this caller wait for a handler, which is the limit "
                "(max_waiting_requests)"
            )
        self._waiting[request] = None
        self._waiting_of[request.caller] = waiting + 1
        return False

    def release(self) -> R | None:
        """Give a slot back, or hand it to the request that has waited for longest."""
        if not self._waiting:
            self._free += 1
            return None
        request, _ = self._waiting.popitem(last=False)
        self._count_off(request.caller)
        return request

    def remove(self, request: R) -> None:
        """Let a request wait no longer, if it does."""
        if request in self._waiting:
            del self._waiting[request]
            self._count_off(request.caller)

    def _count_off(self, caller: str) -> None:
        left = self._waiting_of[caller] - 1
        if left:
            self._waiting_of[caller] = left
        else:
            del self._waiting_of[caller]
