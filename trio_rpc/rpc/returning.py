"""The participants that are expected back after a rejoin of our own (rule L9).

When a server is restarted, all its participants rejoin, one after another. Whoever was in the room
before is expected back for a while, and calls to it wait.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field

from ..concurrency import Backend, Event
from ..participant import Participant


@define(eq=False)
class _Expected:
    participant: Participant
    until: float
    back_or_given_up: Event


@define(eq=False)
class Returning:
    """The participants that are expected back.

    Attributes:
        expected: Them, by identity; to be read only.
    """

    _backend: Backend
    expected: dict[str, _Expected] = field(init=False, factory=dict[str, _Expected])

    def get(self, identity: str) -> Participant | None:
        """Return the last session of a participant that is expected back; None if it is not."""
        expected = self.expected.get(identity)
        return None if expected is None else expected.participant

    def expect(self, participants: Iterable[Participant], until: float) -> None:
        """Expect participants back.

        Args:
            until: The time at which they are given up, on the event loop's clock.
        """
        for each in participants:
            self.expected[each.identity] = _Expected(each, until, self._backend.event())

    async def wait(self, identity: str) -> None:
        """Wait until a participant is back, or given up."""
        if (expected := self.expected.get(identity)) is not None:
            await expected.back_or_given_up.wait()

    def remove(self, identity: str) -> bool:
        """Stop expecting a participant; return whether it was expected."""
        expected = self.expected.pop(identity, None)
        if expected is not None:
            expected.back_or_given_up.set()
        return expected is not None

    def remove_expired(self, now: float) -> list[str]:
        """Give up those whose time is over; return their identities."""
        expired = [name for name, each in self.expected.items() if each.until <= now]
        for identity in expired:
            self.remove(identity)
        return expired
