"""The backlog of one member's queue, by cause, and the senders that have to wait for it (B8).

Back-pressure falls on the sender that fills a queue, and neither on the queue's member nor on other
senders. Beyond half of the queue's capacity, causes with more than a fair share have to wait: half
of the queue, divided among the causes that have something in it (`Shares`). Beyond `packet_limit`,
every packet has to wait before it is queued; the rest is for frames that cannot wait, such as
departures.

Only frames that are queued behind others are charged: a queue that is nearly empty costs nothing
here. Frames leave in the order in which they came, so the number of queued bytes tells which are
still there.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Hashable
from contextlib import AbstractContextManager, contextmanager
from typing import Final, TypeAlias

from attrs import define, field

from ...errors import QueueFullError
from .shares import Shares


class BacklogFullError(QueueFullError):
    """The queue of a participant is full; the error has what is needed to wait for room in it.

    Attributes:
        backlog: The backlog of the queue.
        size: The bytes for which there was no room.
    """

    def __init__(self, identity: str, backlog: Backlog, size: int) -> None:
        super().__init__(f"the queue of {identity!r} is full: it does not read")
        self.backlog = backlog
        self.size = size


#: The queued bytes from which on frames are charged; fewer in small queues.
_CHARGED_FROM: Final = 64 * 1024
#: The cause of frames of the server itself, and of those that nobody has to wait for.
SERVER: Final = "the server"

Cause: TypeAlias = Hashable


@define(eq=False)
class _Run:
    """Consecutive bytes in the queue with the same cause."""

    cause: Cause
    size: int


@define(eq=False)
class _Waiter:
    """A waiter for the queue of a member.

    Attributes:
        wake: Called when the wait is over.
        limit: The queued bytes at which the wait is over.
        cause: The cause whose fair share ends the wait too; None if only the limit counts.
        size: The bytes that the waiter will queue then.
    """

    wake: Callable[[], None]
    limit: int
    cause: Cause | None = None
    size: int = 0


@define(eq=False)
class Backlog:
    """The backlog of one member's queue.

    Args:
        max_bytes: The capacity of the queue.

    Attributes:
        half: The queued bytes beyond which shares count.
        packet_limit: The queued bytes beyond which packets wait.
        charged_from: The queued bytes from which on frames have to be charged.
        charged: The runs that were charged and may still be queued, the oldest first. While there
            are any, every further frame has to be charged.
        announcement_limit: The queued bytes beyond which joining participants wait briefly.
        closed: Whether the member is gone, and nobody waits for it any more.
        on_waiter: Called when a wait begins; `relieve` has to be called from then on.
        patience: Seconds that anybody waits for the member.
        on_impatience: Called when somebody has waited that long.
    """

    max_bytes: int
    on_waiter: Callable[[], None] = lambda: None
    patience: float = field(init=False, default=math.inf)
    on_impatience: Callable[[], None] = field(init=False, default=lambda: None)
    half: int = field(init=False)
    packet_limit: int = field(init=False)
    announcement_limit: int = field(init=False)
    charged_from: int = field(init=False)
    charged: deque[_Run] = field(init=False, factory=deque["_Run"])
    _charged_bytes: int = field(init=False, default=0)
    # The shares of the causes that have something in the queue
    _shares: Shares = field(init=False)
    _waiters: dict[_Waiter, None] = field(init=False, factory=dict[_Waiter, None])
    closed: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self.half = self.max_bytes // 2
        self._shares = Shares(self.half)
        self.announcement_limit = self.max_bytes * 3 // 4
        self.packet_limit = self.max_bytes * 7 // 8
        self.charged_from = min(_CHARGED_FROM, self.max_bytes // 8)

    # Shares

    def charge(self, cause: Cause, size: int, queued: int) -> None:
        """Charge queued bytes to their cause.

        Args:
            cause: The cause.
            size: The bytes to charge.
            queued: The bytes in the queue, including these.
        """
        self._settle(queued - size)
        if self.charged and self.charged[-1].cause is cause:
            self.charged[-1].size += size
        else:
            self.charged.append(_Run(cause, size))
        self._charged_bytes += size
        self._shares.add(cause, size)

    def has_room(self, size: int, queued: int) -> bool:
        """Whether `size` bytes can be queued without waiting."""
        if queued == 0:
            return True
        return queued <= self.packet_limit and queued + size <= self.max_bytes

    def holds_back(self, cause: Cause, queued: int) -> bool:
        """Whether a cause has more than a fair share of a queue that is more than half full."""
        return not self.closed and queued > self.half and not self._is_fair(cause, queued)

    def _is_fair(self, cause: Cause, queued: int) -> bool:
        self._settle(queued)
        return self._shares.is_fair(cause)

    def _settle(self, queued: int) -> None:
        """Refund the bytes that have left the queue, the oldest first."""
        gone = self._charged_bytes - queued
        while gone > 0:
            oldest = self.charged[0]
            size = min(oldest.size, gone)
            gone -= size
            self._charged_bytes -= size
            oldest.size -= size
            if not oldest.size:
                self.charged.popleft()
            self._shares.add(oldest.cause, -size)

    # Waiting

    @property
    def has_waiters(self) -> bool:
        """Whether any sender waits for the queue."""
        return bool(self._waiters)

    def waiting_for_room(
        self, size: int, wake: Callable[[], None], limit: int | None = None
    ) -> AbstractContextManager[None]:
        """Return a block that waits until `size` bytes can be queued, or the member is gone.

        Args:
            wake: Called when the wait is over, at once if the member is gone already.
            limit: The most bytes that may be queued before these; by default, `packet_limit`.
        """
        limit = self.packet_limit if limit is None else limit
        return self._waiting(_Waiter(wake, min(limit, max(self.max_bytes - size, 0)), size=size))

    def waiting_for_share(
        self, cause: Cause, wake: Callable[[], None]
    ) -> AbstractContextManager[None]:
        """Return a block that waits until a cause has a fair share at most, or the member is gone.

        Args:
            wake: Called when the wait is over, at once if the member is gone already.
        """
        return self._waiting(_Waiter(wake, self.half, cause=cause))

    @contextmanager
    def _waiting(self, waiter: _Waiter) -> Generator[None]:
        if self.closed:
            waiter.wake()
            yield
            return
        self._waiters[waiter] = None
        self.on_waiter()
        try:
            yield
        finally:
            self._waiters.pop(waiter, None)

    def relieve(self, queued: int) -> bool:
        """Wake the waiters whose wait is over; return whether others still wait.

        Args:
            queued: The bytes in the queue.
        """
        self._settle(queued)
        for waiter in tuple(self._waiters):
            if queued <= waiter.limit or (
                waiter.cause is not None and self._is_fair(waiter.cause, queued)
            ):
                # Counted, so that the next waiters do not all get the same room.
                queued += waiter.size
                del self._waiters[waiter]
                waiter.wake()
        return bool(self._waiters)

    def close(self) -> None:
        """Wake all waiters, and end: nobody has to wait for a member that is gone."""
        self.closed = True
        for waiter in tuple(self._waiters):
            waiter.wake()
        self._waiters.clear()
        self.charged.clear()
        self._charged_bytes = 0
        self._shares.clear()
