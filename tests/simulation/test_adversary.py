"""Rooms with adversaries in them: the harm that one does ends with it.

About a minute's worth. By hand: `python -m tests.simulation --adversary --calls 1000000 --seed 7`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from attrs import evolve

from .checker import ViolationError
from .hostile.facts import FACTS
from .hostile.moves import MOVES
from .hostile.plan import make_hostile_scenario
from .run import BackendName, Figures, simulate_hostile
from .series import play_series
from .sometimes import Sometimes, never_reached

#: Seeds and calls, the nested ones not counted.
RUNS: dict[BackendName, list[tuple[int, int]]] = {
    "trio": [(1, 2_500), (2, 2_500), (4, 2_500), (5, 2_500)],
    "asyncio": [(7, 2_500), (20, 2_500)],
}


@pytest.mark.thorough
@pytest.mark.rule("B1", "B2", "B3", "B4", "B5", "B8", "B9", "B10", "C5", "C6", "A9", "P5", "P8")
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_the_harm_that_adversaries_do_ends_with_them(
    backend: BackendName, report_figures: Callable[[Figures], None]
) -> None:
    reached: list[Counter[str]] = []
    for seed, calls in RUNS[backend]:
        figures = simulate_hostile(seed, calls, backend)
        report_figures(figures)
        assert sum(figures.outcomes.values()) == figures.calls > calls
        reached.append(figures.facts)
    if backend == "trio":
        # It proves something only if all moves were played, and all bounds were hit. On asyncio a
        # seed does not replay exactly, and what it reaches may differ.
        assert never_reached(FACTS, reached) == []


@pytest.mark.thorough
def test_a_seed_replays_exactly_with_adversaries() -> None:
    first, again, other = (simulate_hostile(seed, 300) for seed in (6, 6, 16))
    assert first == again
    assert first.trace != other.trace


def test_a_series_that_is_stopped_reports_its_figures() -> None:
    lines = list[str]()

    def play(seed: int, calls: int) -> Figures:
        if seed == 7007:
            raise ViolationError("something happened")
        figures = Figures(calls, 3 * calls, Counter(), Counter(), Counter(), trace="")
        return evolve(figures, facts=Counter({"move: a": 2}))

    with pytest.raises(ViolationError, match="something happened"):
        play_series(play, FACTS, 7, 100_000, report=lines.append)
    assert [line.partition(" runs, ")[0] for line in lines if "\n" not in line] == [
        f"{number} of 10" for number in range(1, 8)
    ]
    figures = [line for line in lines if "in these runs: 0" in line]
    assert [line.splitlines()[:2] for line in figures] == [
        ["so far:", "calls of honest participants: 50,000 in 5 runs"],
        ["until then:", "calls of honest participants: 70,000 in 7 runs"],
    ]


def test_each_move_is_dealt_before_any_comes_again() -> None:
    scenario = make_hostile_scenario(1, 20 * len(MOVES))
    moves = Counter(move.name for move in scenario.moves if scenario.may_send[move.identity])
    assert moves == dict.fromkeys(MOVES, 1)


def test_a_move_that_there_is_not() -> None:
    with pytest.raises(ValueError, match=r"there are no such moves: .'dance'"):
        make_hostile_scenario(1, 100, ["dance"])


def test_facts_that_no_run_has_reached() -> None:
    first, second = Sometimes(["a", "b", "c"]), Sometimes(["a", "b", "c"])
    first.reach("a")
    second.reach("b")
    assert never_reached("abc", [first.reached, second.reached]) == ["c"]
    with pytest.raises(KeyError):
        first.reach("d")
