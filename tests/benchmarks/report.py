"""Tables of results, in Markdown."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Protocol

from .cases import TARGET_LOADS, TARGETS, Load
from .contestants import CONTESTANTS
from .results import Results, Round, Spread

_ROLES: Final = ("server", "callee", "caller")


class _Measured(Protocol):
    def others_cores(self) -> Spread | None: ...


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Render a table; all columns but the first are aligned to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def rate(value: float) -> str:
    return f"{value:,.0f}"


def ratio(value: float) -> str:
    return f"{value:.2f}"


def write_spread(
    results: Results, label: str, load: Load, value: Callable[[Round], float], form: str
) -> str:
    """Format a value's median with its quartiles, each in the format `form`."""
    spread = results.spread(label, load, value)
    return "-" if spread is None else spread.format(lambda each: format(each, form))


def write(page: Path, name: str, text: str) -> None:
    """Put `text` between the markers `name` and `end of name` of a page."""
    before, begin, rest = page.read_text().partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->\n")
    if not begin or not end:
        raise ValueError(f"{page} has no markers for {name!r}")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def write_alternatives(readme: Path, results: Results) -> None:
    """Put the calls per second, with 100 in flight, into the table of alternatives in README.md."""
    text, load = readme.read_text(), TARGET_LOADS[1]
    for label in results.labels(load):
        spread = results.spread(label, load, lambda each: each.rate)
        if spread is not None:
            row = rf"^(\| {re.escape(title(label))} \| \[)[\d,]+"
            text = re.sub(row, rf"\g<1>{rate(spread.median)}", text, flags=re.MULTILINE)
    readme.write_text(text)


def conditions(rounds: int, seconds: float, *results: _Measured) -> str:
    """Describe the machine, the rounds, and the other load."""
    others = [each.median for result in results if (each := result.others_cores()) is not None]
    return (
        f"{platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()}; "
        f"{rounds} rounds of {seconds:g} s for each figure. Meanwhile everything else on the "
        f"machine kept {max(others, default=0):.1f} cores busy.\n"
    )


def targets(results: Results) -> str:
    """Render the ratios of ours to others in calls per second, beside the targets."""
    rows = []
    for target in TARGETS:
        cells = []
        for load, wanted in zip(TARGET_LOADS, target.ratios, strict=True):
            measured = results.ratio(target.ours, target.other, load, lambda each: each.rate)
            if measured is None:
                cells.append(f"- (≥ {wanted:g})")
            else:
                verdict = "met" if measured.median >= wanted else "missed"
                cells.append(f"{measured.format(ratio)} (≥ {wanted:g}: {verdict})")
        rows.append([f"{target.ours} / {title(target.other)}", *cells])
    return table(["calls per second, ratio", *map(str, TARGET_LOADS)], rows)


def contestants(results: Results, load: Load) -> str:
    """Render all results of one load, the fastest first."""

    def median_rate(label: str) -> float:
        spread = results.spread(label, load, lambda each: each.rate)
        return spread.median if spread else 0.0

    rows = [
        _row(results, label, load)
        for label in sorted(results.labels(load), key=median_rate, reverse=True)
    ]
    header = ["", "calls/s", "p50 ms", "p99 ms", "CPU µs per call", "memory MB (PSS)"]
    return f"### {load}\n\n{table(header, rows)}"


def _row(results: Results, label: str, load: Load) -> list[str]:
    return [
        title(label),
        write_spread(results, label, load, lambda each: each.rate, ",.0f"),
        write_spread(results, label, load, lambda each: each.p50 * 1e3, ".2f"),
        write_spread(results, label, load, lambda each: each.p99 * 1e3, ".2f"),
        by_role(results, label, load, "cpu", 1e6),
        by_role(results, label, load, "pss", 1e-6),
    ]


def by_role(results: Results, label: str, load: Load, what: str, scale: float) -> str:
    """Format the medians of each process's usage: server, callee, caller."""

    def median(role: str) -> float | None:
        def value(each: Round) -> float:
            used: float = getattr(each, what).get(role, -1)
            return used

        spread = results.spread(label, load, value)
        return None if spread is None or spread.median < 0 else spread.median * scale

    medians = map(median, _ROLES)
    return " / ".join("-" if each is None else f"{each:.0f}" for each in medians)


def missing(results: Results) -> str:
    """Render the contestants that could not be measured, and why; empty if there are none."""
    lines = [f"- {title(label)}: {why}" for label, why in results.missing.items()]
    return "\n".join(["\nMissing:\n", *lines, ""]) if lines else ""


def title(label: str) -> str:
    return CONTESTANTS[label].title if label in CONTESTANTS else label


def notes() -> str:
    """Render the notes on each contestant."""
    return table(
        ["contestant", "a caller's acknowledgement", "fairness"],
        ([each.title, each.acknowledgement, each.fairness] for each in CONTESTANTS.values()),
    ).replace("---:", "---")


def comparison(results: Results, names: Sequence[str]) -> str:
    """Render a comparison of two versions: the figures of each, and the ratio of B to A."""
    rows = []
    for load in results.loads():
        for name in names:
            a, b = f"{name} A", f"{name} B"
            rates = [results.spread(label, load, lambda each: each.rate) for label in (a, b)]
            faster = results.ratio(b, a, load, lambda each: each.rate)
            cpu = results.ratio(b, a, load, lambda each: sum(each.cpu.values()))
            if faster is not None and cpu is not None:
                cells = [rate(each.median) for each in rates if each is not None]
                row = [f"{name}, {load}", *cells, faster.format(ratio), cpu.format(ratio)]
                rows.append(row)
    header = ["", "A calls/s", "B calls/s", "calls/s B/A", "CPU per call B/A"]
    return table(header, rows) + missing(results)
