"""Many runs of a simulation, one after the other or side by side, as one long one.

A long run is a series of shorter ones, whose seeds follow from the seed of the series. What is kept
of a run does not grow with the series, and a violation is seen again without all that came before.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from typing import Final

from attrs import define, field

from .checker import ViolationError
from .run import Figures
from .sometimes import never_reached

#: Plays a run of a seed with so many calls.
Play = Callable[[int, int], Figures]

#: Calls of one run of a series.
_CALLS_PER_RUN: Final = 10_000
#: Runs after which all figures are reported, for a series that is stopped before its end.
_RUNS_PER_REPORT: Final = 5


@define
class SeriesFigures:
    """The results of a series so far.

    Attributes:
        expected: The facts that are to be reached.
        calls: The calls of honest participants.
        peak_mebibytes: What the largest process of it has ever held.
    """

    expected: Collection[str]
    calls: int = 0
    steps: int = 0
    runs: int = 0
    outcomes: Counter[str] = field(factory=Counter[str])
    injected: Counter[str] = field(factory=Counter[str])
    facts: Counter[str] = field(factory=Counter[str])
    peak_mebibytes: int = 0

    def add(self, figures: Figures, peak_mebibytes: int) -> None:
        """Add those of a run."""
        self.calls += figures.calls
        self.steps += figures.steps
        self.runs += 1
        self.outcomes += figures.outcomes
        self.injected += figures.injected
        self.facts += figures.facts
        self.peak_mebibytes = max(self.peak_mebibytes, peak_mebibytes)

    @property
    def moves(self) -> int:
        """The number of moves that adversaries have played."""
        return sum(n for fact, n in self.facts.items() if fact.startswith("move: "))

    def __str__(self) -> str:
        def table(counts: Counter[str]) -> str:
            return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))

        bounds = Counter({k: n for k, n in self.facts.items() if not k.startswith("move: ")})
        missing = never_reached(self.expected, [self.facts])
        return "\n".join(
            (
                f"calls of honest participants: {self.calls:,} in {self.runs:,} runs",
                f"steps: {self.steps:,}, violations in these runs: 0",
                f"outcomes: {table(self.outcomes)}",
                f"faults injected: {table(self.injected)}",
                *([f"moves played: {self.moves:,}"] if self.moves else []),
                f"facts reached: {table(bounds)}",
                f"never reached: {', '.join(missing) or 'none'}",
                f"peak memory: {self.peak_mebibytes:,} MiB",
            )
        )


def play_series(
    play: Play,
    facts: Collection[str],
    seed: int,
    calls: int,
    *,
    jobs: int = 1,
    report: Callable[[str], object] = lambda _line: None,
) -> SeriesFigures:
    """Play runs until they have made so many calls.

    Args:
        play: Plays one run of a seed and so many calls.
        facts: The facts that the runs are to reach.
        seed: That of the first run; the others have the numbers that follow it, a thousand apart.
        jobs: How many processes play.
        report: Called with a line after each run, and with all figures after some.

    Raises:
        ViolationError: something happened that must not; no further run is begun.
    """
    total, started = SeriesFigures(facts), time.monotonic()
    runs = [
        (play, seed + 1000 * number, min(_CALLS_PER_RUN, calls - done))
        for number, done in enumerate(range(0, calls, _CALLS_PER_RUN))
    ]
    try:
        for figures, peak in _play(runs, jobs):
            total.add(figures, peak)
            seconds = time.monotonic() - started
            report(
                f"{total.runs} of {len(runs)} runs, {total.calls:,} calls, {seconds:,.0f} s, "
                f"{total.calls / seconds:,.0f} calls/s, "
                f"{total.peak_mebibytes} MiB, next seed: {seed + 1000 * total.runs}"
            )
            if total.runs % _RUNS_PER_REPORT == 0 and total.runs < len(runs):
                report(f"so far:\n{total}")
    finally:
        if total.runs < len(runs):
            report(f"until then:\n{total}")
    return total


_Run = tuple[Play, int, int]


def _play(runs: list[_Run], jobs: int) -> Iterator[tuple[Figures, int]]:
    if jobs == 1:
        yield from map(_play_one, runs)
        return
    with ExitStack() as stack:
        pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
        stack.callback(pool.shutdown, cancel_futures=True)
        yield from pool.map(_play_one, runs)


def _play_one(run: _Run) -> tuple[Figures, int]:
    play, seed, calls = run
    try:
        figures = play(seed, calls)
    except ViolationError as violation:
        # What caused it may be of a kind that does not travel between processes.
        raise ViolationError(str(violation)) from None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return figures, peak // (2**20 if sys.platform == "darwin" else 2**10)
