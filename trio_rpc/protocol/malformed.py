"""A limit on malformed messages, which distinguishes occasional errors from a flood (rule P8)."""

from __future__ import annotations

from attrs import define


@define
class MalformedLimiter:
    """A leaky bucket of malformed messages.

    Args:
        limit: Messages that may come at once.
        seconds: The time in which that many leak out of the bucket.
    """

    limit: int = 100
    seconds: float = 10.0
    _count: float = 0.0
    _counted_at: float = 0.0

    def allow(self, now: float) -> bool:
        """Count a message at the time `now`, and return whether it is within the limit."""
        forgiven = (now - self._counted_at) * self.limit / self.seconds
        self._count = max(self._count - forgiven, 0.0) + 1
        self._counted_at = now
        return self._count <= self.limit
