"""Telling a peer that stumbles from one that floods us with nonsense (rule P8)."""

from __future__ import annotations

from attrs import define


@define
class FloodGate:
    """Counts malformed messages, and forgives them over time.

    Args:
        limit: How many may come at once.
        seconds: In which time that many are forgiven.
    """

    limit: int = 100
    seconds: float = 10.0
    _count: float = 0.0
    _counted_at: float = 0.0

    def admit(self, now: float) -> bool:
        """Count one more, at the time `now`, and say whether that is still bearable."""
        forgiven = (now - self._counted_at) * self.limit / self.seconds
        self._count = max(self._count - forgiven, 0.0) + 1
        self._counted_at = now
        return self._count <= self.limit
