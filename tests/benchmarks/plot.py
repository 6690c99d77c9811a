"""The plots, as SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib
from matplotlib.figure import Figure

from .cases import TARGET_LOADS
from .contestants import CONTESTANTS
from .growth import CURVES, Joins
from .report import title
from .results import Results, Round

_OURS: Final = "#00897b"
_OTHERS: Final = "#90a4ae"


def write_rates(results: Results, path: Path) -> None:
    """Plot the calls per second of all contestants: a column for each target load."""
    labels = [label for label in CONTESTANTS if label not in results.missing]
    with figure(path, 12, 1.2 + 0.32 * len(labels), len(TARGET_LOADS), sharey=True) as axes:
        for axis, load in zip(axes, TARGET_LOADS, strict=True):
            for place, label in enumerate(labels):
                spread = results.spread(label, load, lambda each: each.rate)
                if spread is not None:
                    error = [[spread.median - spread.low], [spread.high - spread.median]]
                    color = _OURS if CONTESTANTS[label].is_ours else _OTHERS
                    axis.barh(place, spread.median, xerr=error, color=color)
            axis.set_title(str(load), fontsize=10)
            axis.set_xlabel("calls per second")
            axis.set_xscale("log")
            axis.grid(axis="x", alpha=0.3)
        axes[0].set_yticks(range(len(labels)), [title(label) for label in labels])
        axes[0].invert_yaxis()


def write_growth(curves: Mapping[str, Results], joins: Sequence[Joins], path: Path) -> None:
    """Plot the CPU per call along each curve, and per join."""
    with figure(path, 3.2 * (len(curves) + 1), 3.2, len(curves) + 1) as axes:
        for axis, (name, results) in zip(axes, curves.items(), strict=False):
            labels = [point.label for point in CURVES[name]]
            for role in ("server", "callee", "caller"):
                medians = [
                    spread.median * 1e6
                    for point in CURVES[name]
                    if (spread := results.spread(point.label, point.load, cpu_of(role)))
                ]
                axis.plot(labels[: len(medians)], medians, marker="o", label=role)
            axis.set_title(name.replace(" besides", "\nbesides"), fontsize=9)
            axis.set_ylabel("CPU µs per call")
            if name.startswith("Payload"):
                axis.set_yscale("log")
            else:
                axis.set_ylim(bottom=0)
        axes[0].legend()
        axes[-1].plot(
            [each.members for each in joins], [each.cpu_seconds * 1e3 for each in joins], marker="o"
        )
        axes[-1].set_title("Participants in the room joined", fontsize=9)
        axes[-1].set_ylabel("server CPU ms per join")
        axes[-1].set_ylim(bottom=0)


def cpu_of(role: str) -> Callable[[Round], float]:
    """Return a function that returns the CPU of a role's process per call."""
    return lambda each: each.cpu[role]


@contextmanager
def figure(
    path: Path, width: float, height: float, columns: int, **options: Any
) -> Iterator[Sequence[Any]]:
    """Yield axes side by side, and write their plots to `path` at the end of the block."""
    # Text stays text, and the same figures make the same file.
    settings = {"svg.fonttype": "none", "svg.hashsalt": "benchmarks", "font.size": 9}
    with matplotlib.rc_context(settings):
        drawing = Figure(figsize=(width, height), layout="constrained")
        yield drawing.subplots(1, columns, squeeze=False, **options)[0]
        drawing.savefig(path, format="svg", metadata={"Date": None})
