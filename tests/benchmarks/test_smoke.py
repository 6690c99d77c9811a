"""The benchmarks still run: a few calls with each contestant of ours."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest

from . import counts, growth, hostile, network, profile
from .__main__ import main
from .cases import Load
from .contestants import CONTESTANTS
from .running import make_entry, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which Linux has")

ORDINARY = "websocket-trio"
OURS = [
    pytest.param(each.name, marks=[] if each.name == ORDINARY else pytest.mark.thorough)
    for each in CONTESTANTS.values()
    if each.is_ours
]
SENDS_NOTHING = ("nothing but a busy core", "silent connections")
LOAD = Load(payload_bytes=20_000, in_flight=2)


@pytest.mark.parametrize("backend", counts.BACKENDS)
def test_the_steps_of_a_call_are_measured(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "_CALLS", profile._IN_FLIGHT)
    for run_step in profile._ASYNC.values():
        assert anyio.run(run_step, backend=backend) > 0


@pytest.mark.parametrize("name", OURS)
def test_a_contestant_of_ours_makes_calls(name: str) -> None:
    entry = make_entry(CONTESTANTS[name], None)
    results = run([entry], lambda _: [LOAD], rounds=1, seconds=0.05, seed=0, log=print)
    if reason := results.missing.get(name):
        pytest.skip(reason)
    rates = results.spread(name, LOAD, lambda each: each.rate)
    assert rates is not None
    assert rates.median > 0
    used = results.spread(name, LOAD, lambda each: min(each.cpu.values()))
    assert used is not None
    assert used.median > 0


def test_a_checkout_is_compared_with_itself(capsys: pytest.CaptureFixture[str]) -> None:
    checkout = str(Path(__file__).parents[2])
    options = ["--rounds", "1", "--seconds", "0.05", "--load", "100/1", "--only", "memory-trio"]
    assert main(["--compare", checkout, checkout, *options]) == 0
    header, _, row = capsys.readouterr().out.strip().splitlines()
    assert header == "|  | A calls/s | B calls/s | calls/s B/A | CPU per call B/A |"
    assert row.startswith("| memory-trio, 100 B, 1 in flight | ")


@pytest.mark.thorough
def test_growth_is_measured_with_a_crowd_and_pending_calls() -> None:
    point = growth.Point("a few", members=3, rooms=2, pending=3)
    results = run(
        [point.entry()], lambda _: [point.load], rounds=1, seconds=0.05, seed=0, log=print
    )
    assert results.missing == {}
    rates = results.spread("a few", point.load, lambda each: each.rate)
    assert rates is not None
    assert rates.median > 0


@pytest.mark.thorough
def test_attacks_are_measured_and_honest_sessions_live() -> None:
    # A few: all of them take minutes on a busy machine (`--hostile`).
    cases = hostile.cases(["duplicate ids", "bombs to no method", "stream headers of 60 KB"])
    outcome = hostile.measure(cases, rounds=1, seconds=0.1, log=print, fresh=False)
    assert outcome.missing == {}
    for case in cases:
        (cost,) = outcome.costs[case]
        assert cost.ended == [], case
        assert cost.sent_bytes > 0 or case.attack in SENDS_NOTHING, case
    rows = hostile.report(outcome).splitlines()[2 : 2 + len(cases)]
    assert [row.split(" | ")[0] for row in rows] == [f"| {case}" for case in cases]


@pytest.mark.thorough
@pytest.mark.parametrize("fault", ["cuts", "is replaced"])
def test_calls_survive_a_network_and_a_server_that_fail(fault: str) -> None:
    case = network.Case(fault, seconds=2.0, response_timeout=60.0, link="tcp", backend="trio")
    outcome = network.measure([case], print)[case]
    assert isinstance(outcome, network.Outcome)
    assert outcome.calls > 0
    assert (outcome.lost, outcome.twice) == (0, 0)


def test_a_table_keeps_the_rows_of_other_faults() -> None:
    first, second, *_ = network.cases(["stalls"])
    old = network.report({first: "no server", second: "no server"})
    outcome = network.Outcome(calls=7, failures={}, twice=0, slowest=1.0, resumed=2, rejoined=0)
    rows = network.report({second: outcome}, old).splitlines()[4:]
    assert [row.count("no server") for row in rows] == [1, 0]
    assert rows[1] == f"| {second.what} | WebSocket, asyncio | 10 | 7 | 0 | 0 | 1.00 | 2, 0 |"


def test_an_unknown_contestant_is_an_error_that_says_so() -> None:
    with pytest.raises(SystemExit, match="no contestant is called carrier-pigeon: see --list"):
        main(["--only", "carrier-pigeon"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--load", "100"], "'100' is not a load: it wants BYTES/CALLS, as in 100/1000"),
        (["--load", "0/1"], "'0/1' is not a load: it wants BYTES/CALLS, as in 100/1000"),
        (["--rounds", "0"], "'0' is not a whole number above 0"),
        (["--seconds", "0"], "0 is not above 0 and at most 60"),
        (["--compare", "/nowhere", "."], "there is no package trio_rpc in '/nowhere'"),
        (["--fault", "sleeps"], "argument --fault: invalid choice: 'sleeps'"),
        (["--growth", "--hostile"], "argument --hostile: not allowed with argument --growth"),
    ],
)
def test_bad_options_are_errors_that_say_so(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err
