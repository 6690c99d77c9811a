"""Medians, spreads, ratios and tables of results."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import report
from .cases import ALL_LOADS, TARGET_LOADS, Load, payload
from .results import Results, Round, Spread

LOAD = Load(100, 1)


def a_round(rate: float) -> Round:
    return Round(
        rate=rate,
        p50=0.001,
        p99=0.002,
        cpu={"server": 1e-5, "caller": 2e-5},
        pss={"server": 1_000_000, "caller": 2_000_000},
        others_cores=0.5,
    )


@pytest.fixture
def results() -> Results:
    """Of which the second contestant has missed a round."""
    results = Results(missing={"nats": "nats-server is not installed"})
    for number, rate in enumerate((10.0, 20.0, 60.0)):
        results.add("websocket-trio", LOAD, number, a_round(rate))
    results.add("wamp", LOAD, 0, a_round(5.0))
    results.add("wamp", LOAD, 2, a_round(10.0))
    return results


@pytest.mark.parametrize(
    ("values", "spread"),
    [
        ([3.0], Spread(3.0, 3.0, 3.0)),
        ([1.0, 3.0], Spread(2.0, 1.5, 2.5)),
        ([5.0, 1.0, 2.0, 4.0, 3.0], Spread(3.0, 2.0, 4.0)),
    ],
)
def test_a_spread_has_the_median_and_the_quartiles(values: list[float], spread: Spread) -> None:
    assert Spread.of(values) == spread


def test_a_ratio_is_one_of_rounds_that_both_were_in(results: Results) -> None:
    ratio = results.ratio("websocket-trio", "wamp", LOAD, lambda each: each.rate)
    assert ratio == Spread(4.0, 3.0, 5.0)
    assert results.ratio("websocket-trio", "nats", LOAD, lambda each: each.rate) is None


def test_rounds_of_a_further_run_come_after_the_first(results: Results) -> None:
    further = Results()
    further.add("websocket-trio", LOAD, 0, a_round(80.0))
    further.add("wamp", LOAD, 0, a_round(16.0))
    results.extend(further)
    ratio = results.ratio("websocket-trio", "wamp", LOAD, lambda each: each.rate)
    assert ratio == Spread(5.0, 3.5, 5.5)


def test_the_table_has_the_fastest_first(results: Results) -> None:
    lines = report.contestants(results, LOAD).splitlines()
    assert lines[0] == "### 100 B, 1 in flight"
    assert lines[4] == (
        "| trio_rpc, WebSocket, trio | 20 [15, 40] | 1.00 [1.00, 1.00] | 2.00 [2.00, 2.00] "
        "| 10 / - / 20 | 1 / - / 2 |"
    )
    assert lines[5].startswith("| WAMP, autobahn on crossbar | 8 [6, 9] |")
    assert report.missing(results) == (
        "\nMissing:\n\n- nats-py on nats-server, asyncio: nats-server is not installed\n"
    )


def test_targets_are_met_or_missed_or_not_measured(results: Results) -> None:
    (row,) = [line for line in report.targets(results).splitlines() if "WAMP" in line]
    assert "| 4.00 [3.00, 5.00] (≥ 1.2: met) | - (≥ 3) | - (≥ 1.8) |" in row


def test_results_are_written_between_the_markers_of_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- results -->\nold\n<!-- end of results -->\nafter\n")
    report.write(page, "results", "new\n")
    report.write(page, "results", "newer\n")
    assert page.read_text() == (
        "before\n<!-- results -->\n\nnewer\n\n<!-- end of results -->\nafter\n"
    )
    with pytest.raises(ValueError, match="no markers for 'growth'"):
        report.write(page, "growth", "new\n")


def test_the_rates_of_alternatives_are_written_into_the_readme(tmp_path: Path) -> None:
    results = Results()
    measured = Round(rate=1234.4, p50=0.1, p99=0.2, cpu={}, pss={}, others_cores=0.0)
    results.add("wamp", TARGET_LOADS[1], 0, measured)
    readme = tmp_path / "README.md"
    title = report.title("wamp")
    readme.write_text(f"| {title} | [99](page) | [1](page) |\n| another | [99](page) |\n")
    report.write_alternatives(readme, results)
    assert readme.read_text() == (
        f"| {title} | [1,234](page) | [1](page) |\n| another | [99](page) |\n"
    )


@pytest.mark.parametrize("size", sorted({load.payload_bytes for load in ALL_LOADS}))
def test_a_payload_has_its_size_and_is_the_same_in_every_run(size: int) -> None:
    assert len(payload(size).encode()) == size
    assert payload(size) == payload(size)
