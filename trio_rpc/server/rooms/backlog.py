"""What waits for one member, by who caused it, and who has to wait for it to become less (B8).

A queue that somebody fills slows down that one, and neither the member that it is for nor others
who send to it. Beyond half of what the queue may hold, whoever has more than a fair share in it has
to wait: half of the queue, divided among those who have something in it (`Shares`). Beyond
`packet_limit`, every packet has to wait before it is queued; the rest is for what cannot wait, such
as departures.

What is charged are frames that are queued when some are queued already: a queue that is nearly
empty costs nothing here. Frames leave in the order in which they came, so those that are still
there follow from how many bytes are queued.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Hashable
from contextlib import AbstractContextManager, contextmanager
from typing import Final, TypeAlias

from attrs import define, field

from ...errors import QueueFullError
from .shares import Shares


class BacklogFullError(QueueFullError):
    """The queue of a participant is full, with what is needed to wait for room in it.

    Attributes:
        backlog: What waits for the participant.
        size: How many bytes there was no room for.
    """

    def __init__(self, identity: str, backlog: Backlog, size: int) -> None:
        super().__init__(f"{identity!r} has not taken what was sent to it before")
        self.backlog = backlog
        self.size = size


#: From how many queued bytes on it is worth knowing whose they are; less where half is not much.
_CHARGED_FROM: Final = 64 * 1024
#: Who causes what the server itself sends, or what nobody can be held up for.
SERVER: Final = "the server"

Cause: TypeAlias = Hashable


@define(eq=False)
class _Run:
    """Bytes that follow each other in the queue, by the same cause."""

    cause: Cause
    size: int


@define(eq=False)
class _Waiter:
    """Somebody who waits for the queue of a member.

    Attributes:
        wake: Called when the wait is over.
        limit: It is when no more bytes than these are queued.
        cause: It is, too, when the share of this one is fair; None if only the limit counts.
        size: How many bytes will be queued then.
    """

    wake: Callable[[], None]
    limit: int
    cause: Cause | None = None
    size: int = 0


@define(eq=False)
class Backlog:
    """See the module.

    Args:
        max_bytes: What the queue may hold.

    Attributes:
        half: Beyond so many bytes, shares count.
        packet_limit: Beyond so many bytes, packets wait.
        charged_from: From so many bytes on, frames are to be charged.
        charged: What was charged and may be queued still, the oldest first. As long as there is
            something, all that is queued is to be charged.
        announcement_limit: Beyond so many bytes, who wants to join waits a little.
        closed: Whether its member is gone: nobody waits for it any more.
        on_waiter: Called when somebody begins to wait, for `relieve` to be called from then on.
    """

    max_bytes: int
    on_waiter: Callable[[], None] = lambda: None
    half: int = field(init=False)
    packet_limit: int = field(init=False)
    announcement_limit: int = field(init=False)
    charged_from: int = field(init=False)
    charged: deque[_Run] = field(init=False, factory=deque["_Run"])
    _charged_bytes: int = field(init=False, default=0)
    # Of those who have something in the queue
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
        """Count what was queued.

        Args:
            cause: Who caused it.
            size: How much it is, in bytes.
            queued: How much is queued with it.
        """
        self._settle(queued - size)
        if self.charged and self.charged[-1].cause is cause:
            self.charged[-1].size += size
        else:
            self.charged.append(_Run(cause, size))
        self._charged_bytes += size
        self._shares.add(cause, size)

    def has_room(self, size: int, queued: int) -> bool:
        """Tell whether so many bytes more need not wait."""
        if queued == 0:
            return True
        return queued <= self.packet_limit and queued + size <= self.max_bytes

    def holds_back(self, cause: Cause, queued: int) -> bool:
        """Tell whether somebody has to wait, who has too much in the queue."""
        return not self.closed and queued > self.half and not self._is_fair(cause, queued)

    def _is_fair(self, cause: Cause, queued: int) -> bool:
        self._settle(queued)
        return self._shares.is_fair(cause)

    def _settle(self, queued: int) -> None:
        """Refund what has left the queue, the oldest first."""
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

    def waiting_for_room(
        self, size: int, wake: Callable[[], None], limit: int | None = None
    ) -> AbstractContextManager[None]:
        """A block that waits until the queue takes `size` bytes more, or the member is gone.

        Args:
            wake: Called when the wait is over, at once if the member is gone already.
            limit: How many bytes may be queued before them; as many as may before packets wait,
                unless given.
        """
        limit = self.packet_limit if limit is None else limit
        return self._waiting(_Waiter(wake, min(limit, max(self.max_bytes - size, 0)), size=size))

    def waiting_for_share(
        self, cause: Cause, wake: Callable[[], None]
    ) -> AbstractContextManager[None]:
        """A block that waits until a cause has no more than a fair share, or the member is gone.

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
        """Wake those whose wait is over; returns whether others still wait.

        Args:
            queued: How much is queued now.
        """
        self._settle(queued)
        for waiter in tuple(self._waiters):
            if queued <= waiter.limit or (
                waiter.cause is not None and self._is_fair(waiter.cause, queued)
            ):
                # Not all at once into the same room.
                queued += waiter.size
                del self._waiters[waiter]
                waiter.wake()
        return bool(self._waiters)

    def close(self) -> None:
        """End: nobody has to wait for a member that is gone."""
        self.closed = True
        for waiter in tuple(self._waiters):
            waiter.wake()
        self._waiters.clear()
        self.charged.clear()
        self._charged_bytes = 0
        self._shares.clear()
