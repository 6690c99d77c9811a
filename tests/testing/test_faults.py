"""Fault injection, decided from a seed."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from trio_rpc.links import Channel, Frame
from trio_rpc.testing import Direction, Faults, PacketFate
from trio_rpc.testing.faults import FaultPlan, count_faults

FRAME = Frame(Channel.RELIABLE, b"a packet")
ALL = Faults(seed=3, delay=(0.1, 0.3), drop=0.2, duplicate=0.3, reorder=0.4)


def fates(
    faults: Faults, number: int = 200, *, link: int = 0, direction: Direction = "sent"
) -> list[PacketFate]:
    plan = FaultPlan(faults, link, direction)
    return [plan.decide(FRAME) for _ in range(number)]


def test_the_same_seed_makes_the_same_faults() -> None:
    assert fates(ALL) == fates(ALL)
    assert fates(ALL) != fates(Faults(seed=4, delay=(0.1, 0.3), drop=0.2))


def test_links_and_directions_have_faults_of_their_own() -> None:
    drops = Faults(drop=0.5)
    ways: list[tuple[int, Direction]] = [(0, "sent"), (0, "received"), (1, "sent")]
    dropped = {
        tuple(not fate.delays for fate in fates(drops, link=link, direction=direction))
        for link, direction in ways
    }
    assert len(dropped) == 3


def test_one_kind_of_fault_does_not_change_where_another_happens() -> None:
    dropped = [not fate.delays for fate in fates(Faults(seed=3, drop=0.2))]
    assert dropped == [not fate.delays for fate in fates(ALL)]


def test_faults_are_as_frequent_as_was_asked_for() -> None:
    injected: Counter[str] = Counter()
    for fate in fates(ALL, 10_000):
        count_faults(injected, fate)
    assert injected["dropped"] == pytest.approx(2_000, rel=0.1)
    assert injected["delayed"] == 10_000 - injected["dropped"]
    assert injected["duplicated"] == pytest.approx(0.3 * 8_000, rel=0.1)
    assert injected["reordered"] == pytest.approx(0.4 * 8_000, rel=0.1)


def test_delays_are_within_their_ranges() -> None:
    for fate in fates(ALL, 1_000):
        assert all(0.1 <= delay <= 0.3 for delay in fate.delays)
        assert fate.held_back == 0 or 0.01 <= fate.held_back <= 0.1


def test_without_faults_nothing_happens() -> None:
    assert set(fates(Faults())) == {PacketFate("sent", FRAME, (0.0,))}


@pytest.mark.parametrize("kind", ["drop", "duplicate", "reorder"])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_a_probability_is_from_0_to_1(kind: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{kind} is a probability from 0 to 1, not {value}$"):
        Faults(**{kind: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["delay", "reorder_delay"])
@pytest.mark.parametrize("value", [(-1.0, 0.0), (0.2, 0.1), (0.0, math.nan)])
def test_a_range_of_seconds_is_in_order(kind: str, value: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=f"^{kind} is a range of seconds from 0 up"):
        Faults(**{kind: value})  # type: ignore[arg-type]
