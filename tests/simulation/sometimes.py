"""*Sometimes* assertions: facts that runs are to reach, or they prove less than they seem to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from attrs import Factory, define


@define
class Sometimes:
    """Counters of how often each fact was reached.

    Args:
        facts: The facts that there are.
    """

    facts: Collection[str]
    reached: Counter[str] = Factory(Counter[str])

    def reach(self, fact: str) -> None:
        """Note that a fact has come about.

        Raises:
            KeyError: there is no such fact.
        """
        if fact not in self.facts:
            raise KeyError(fact)
        self.reached[fact] += 1


def never_reached(facts: Iterable[str], reached: Iterable[Counter[str]]) -> list[str]:
    """Return the facts that none of some runs has reached."""
    total = sum(reached, Counter[str]())
    return sorted(fact for fact in facts if not total[fact])
