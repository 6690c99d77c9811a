"""What bad peers do to the calls of others, before and meanwhile, and to the server's memory."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Final

from attrs import define, field

from .cases import Load
from .contestants import Contestant
from .report import missing, ratio, table, write_spread
from .results import Results
from .running import Entry, Say, failures_noted, make_entry, started

LOAD: Final = Load(100, 10)
#: Over which link, and what somebody does.
CASES: Final = tuple(
    (link, behaviour)
    for link in ("websocket", "tcp")
    for behaviour in ("never reads", "trickles", "announces 4 GB", "opens 1,000 links")
)
_QUIET: Final = " before"


@define(eq=False)
class Outcome:
    """The rounds with and without each behaviour, and what the bad peer was told."""

    results: Results = field(factory=Results)
    told: dict[str, Counter[str]] = field(factory=dict)


def measure(
    cases: Sequence[tuple[str, str]], rounds: int, seconds: float, seed: int, say: Say
) -> Outcome:
    """Rounds of calls, before and while somebody misbehaves."""
    outcome = Outcome()
    entries = {case: _entry(*case) for case in cases}
    shuffle = random.Random(seed).shuffle
    with started(list(entries.values()), say):
        for number in range(rounds):
            turns = list(entries.items())
            shuffle(turns)
            for (_, behaviour), entry in turns:
                if entry.missing is None:
                    with failures_noted(entry, say):
                        _run_round(outcome, entry, behaviour, number, seconds)
            say(f"round {number + 1} of {rounds}")
    outcome.results.missing = {
        entry.label: entry.missing for entry in entries.values() if entry.missing is not None
    }
    return outcome


def _entry(link: str, behaviour: str) -> Entry:
    contestant = Contestant(
        name=f"{link}, {behaviour}",
        module="bad_peers",
        options={"link": link},
        roles=("server", "bad", "callee", "caller"),
    )
    return make_entry(contestant, None)


def _run_round(outcome: Outcome, entry: Entry, behaviour: str, number: int, seconds: float) -> None:
    bad = entry.processes["bad"]
    results = outcome.results
    results.add(entry.label + _QUIET, LOAD, number, entry.run_round(LOAD, seconds))
    bad.tell({"behaviour": behaviour})
    bad.hear()
    results.add(entry.label, LOAD, number, entry.run_round(LOAD, seconds))
    bad.tell({})
    told = outcome.told.setdefault(entry.label, Counter())
    for text, count in bad.hear()["told"]:
        told[text] += count


def report(outcome: Outcome) -> str:
    """All of it as a table."""
    results = outcome.results
    rows = []
    for label, told in outcome.told.items():
        before = label + _QUIET

        def milliseconds(label: str) -> str:
            return write_spread(results, label, LOAD, lambda each: each.p99 * 1e3, ".1f")

        def megabytes(label: str) -> str:
            return write_spread(results, label, LOAD, lambda each: each.pss["server"] / 1e6, ".0f")

        slower = results.ratio(label, before, LOAD, lambda each: each.p99)
        rate = results.ratio(label, before, LOAD, lambda each: each.rate)
        assert slower is not None
        assert rate is not None
        texts = "; ".join(f"{text} ({count} times)" for text, count in told.most_common(2))
        rows.append(
            [
                label,
                milliseconds(before),
                milliseconds(label),
                slower.format(ratio),
                rate.format(ratio),
                megabytes(before),
                megabytes(label),
                texts or "-",
            ]
        )
    header = [
        "somebody",
        "p99 ms before",
        "p99 ms meanwhile",
        "p99 meanwhile / before",
        "calls/s meanwhile / before",
        "server MB before",
        "server MB meanwhile",
        "what it is told",
    ]
    return table(header, rows) + missing(results)
