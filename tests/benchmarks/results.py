"""The measurements, with their medians, spreads and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from attrs import define, field, frozen

from .cases import Load


@frozen
class Round:
    """One round of calls of one contestant.

    Attributes:
        rate: Calls per second.
        p50: Seconds that half of the calls took at the most.
        p99: Seconds that 99 of 100 calls took at the most.
        cpu: By process, seconds of CPU per call.
        pss: By process, bytes in memory after the round; what processes share is divided.
        others_cores: How many cores everything else on the machine kept busy meanwhile.
    """

    rate: float
    p50: float
    p99: float
    cpu: Mapping[str, float]
    pss: Mapping[str, int]
    others_cores: float


@frozen
class Spread:
    """A median, and between what the middle half of the values lies."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)

    def format(self, form: Callable[[float], str]) -> str:
        """Format the median and the quartiles."""
        return f"{form(self.median)} [{form(self.low)}, {form(self.high)}]"


@define(eq=False)
class Results:
    """The rounds of one run, and why what is missing is missing."""

    missing: dict[str, str] = field(factory=dict)
    _rounds: dict[tuple[str, Load], dict[int, Round]] = field(factory=dict)

    def add(self, label: str, load: Load, number: int, measured: Round) -> None:
        self._rounds.setdefault((label, load), {})[number] = measured

    def extend(self, further: Results) -> None:
        """Add the rounds of a further run."""
        self.missing.update(further.missing)
        first = 1 + max(
            (number for rounds in self._rounds.values() for number in rounds), default=-1
        )
        for (label, load), rounds in further._rounds.items():
            for number, measured in rounds.items():
                self.add(label, load, first + number, measured)

    def others_cores(self) -> Spread | None:
        """Return the spread, over all rounds, of the cores that other processes kept busy."""
        rounds = [each for rounds in self._rounds.values() for each in rounds.values()]
        return Spread.of([each.others_cores for each in rounds]) if rounds else None

    def loads(self) -> list[Load]:
        """Return the loads that were measured, from small to large."""
        return sorted({load for _, load in self._rounds})

    def labels(self, load: Load) -> list[str]:
        """Return the labels that were measured with this load."""
        return [label for label, its_load in self._rounds if its_load == load]

    def spread(self, label: str, load: Load, value: Callable[[Round], float]) -> Spread | None:
        """Return the spread of a value over the rounds; None if there were none."""
        rounds = self._rounds.get((label, load))
        return Spread.of([value(each) for each in rounds.values()]) if rounds else None

    def ratio(
        self, ours: str, other: str, load: Load, value: Callable[[Round], float]
    ) -> Spread | None:
        """Return the spread of the ratio of ours to the other's, each within one round."""
        mine, its = self._rounds.get((ours, load), {}), self._rounds.get((other, load), {})
        ratios = [value(mine[number]) / value(its[number]) for number in mine.keys() & its.keys()]
        return Spread.of(ratios) if ratios else None
