"""Rooms whose network fails, and whose server and processes are restarted (L1 to L9).

By hand: `python -m tests.simulation --outages --calls 1000000 --seed 7`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from attrs import evolve

from trio_rpc import Room, RpcError
from trio_rpc.testing import Faults

from .checker import Checker, ViolationError
from .outages.facts import FACTS
from .outages.plan import OutageScenario, make_outage_scenario
from .records import Actor, CallRecord, Outage, Session
from .run import BackendName, Figures, simulate_outages
from .sometimes import never_reached

#: Seeds and calls, the nested ones not counted.
RUNS: dict[BackendName, list[tuple[int, int]]] = {
    "trio": [(1, 2_500), (2, 2_500)],
    "asyncio": [(3, 1_500)],
}


@pytest.mark.thorough
@pytest.mark.rule("C1", "C2", "A9", "L1", "L2", "L3", "L4", "L5", "L6", "L7", "L8", "L9")
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_with_the_network_back_in_time_the_outcome_is_the_handlers(
    backend: BackendName, report_figures: Callable[[Figures], None]
) -> None:
    reached: list[Counter[str]] = []
    for seed, calls in RUNS[backend]:
        figures = simulate_outages(seed, calls, backend)
        report_figures(figures)
        assert sum(figures.outcomes.values()) == figures.calls > calls
        reached.append(figures.facts)
    if backend == "trio":
        # On asyncio a seed does not replay exactly, and what it reaches may differ.
        assert never_reached(FACTS, reached) == []


@pytest.mark.thorough
def test_a_seed_replays_exactly_with_outages() -> None:
    first, again, other = (simulate_outages(seed, 300) for seed in (6, 6, 16))
    assert first == again
    assert first.trace != other.trace


# The checker sees what it is there for


class _Call:
    """A call of p0 to p1 that is to return, and was made at 100 s."""

    def __init__(self, *, waits: bool = True) -> None:
        scenario = make_outage_scenario(1, 300)
        assert isinstance(scenario, OutageScenario)
        self.checker = Checker(scenario)
        self.actors = [
            Actor(evolve(profile, faults=Faults(), max_round_trip_latency=7.0))
            for profile in scenario.profiles[:2]
        ]
        sessions = [Session(actor=actor, room=Room(), began=0.0) for actor in self.actors]
        for actor, session in zip(self.actors, sessions, strict=True):
            actor.sessions.append(session)
        plan = evolve(
            next(call for call in scenario.calls if call.answer.kind == "return"),
            caller="p0",
            callee="p1",
            method="do",
            padding=0,
            response_timeout=10.0,
            cancel_after=None,
            waits_for_connection=waits,
        )
        plan = evolve(plan, answer=evolve(plan.answer, seconds=1.0))
        self.record = CallRecord(plan, sessions[0], self.actors[1], True, 100.0)
        self.checker.call_started(self.record)

    def be_away(self, who: int, began: float, ended: float, *, resumed: bool = True) -> None:
        outage = Outage(began, ended, began, began + 14, ended, resumed)
        self.actors[who].outages.append(outage)

    def end(self, code: str, seconds: float) -> None:
        error = RpcError.built_in(RpcError.ErrorCode[code])
        self.checker.call_ended(self.record, 100 + seconds, error)


@pytest.mark.parametrize("who", [0, 1])
def test_the_checker_accepts_a_timeout_only_if_the_network_was_not_back_in_time(who: int) -> None:
    call = _Call()
    call.be_away(who, 95, 109.5)
    call.end("RESPONSE_TIMEOUT", 10)
    call = _Call()
    call.be_away(who, 95, 108.5)
    with pytest.raises(ViolationError, match="there was time enough"):
        call.end("RESPONSE_TIMEOUT", 10)


@pytest.mark.parametrize("who", [0, 1])
def test_the_checker_accepts_a_missing_ack_only_while_there_is_no_connection(who: int) -> None:
    call = _Call()
    call.be_away(who, 95, 109)
    call.end("CONNECTION_TIMEOUT", 7)
    call = _Call()
    call.be_away(who, 95, 106)
    with pytest.raises(ViolationError, match="nothing kept the acknowledgement from coming"):
        call.end("CONNECTION_TIMEOUT", 7)
    call = _Call()
    call.be_away(who, 95, 109)
    with pytest.raises(ViolationError, match="it should have after 7 s at the earliest"):
        call.end("CONNECTION_TIMEOUT", 6)


def test_the_checker_accepts_a_call_that_does_not_wait_only_while_there_is_no_connection() -> None:
    call = _Call(waits=False)
    call.be_away(0, 95, 109)
    call.end("SEND_FAILED", 0)
    with pytest.raises(ViolationError, match="the connection was there"):
        _Call(waits=False).end("SEND_FAILED", 0)
    call = _Call(waits=False)
    call.be_away(0, 95, 109)
    with pytest.raises(ViolationError, match="that was known at once"):
        call.end("SEND_FAILED", 1)
    call = _Call()
    call.be_away(0, 95, 109)
    with pytest.raises(ViolationError, match="it was to wait for a connection"):
        call.end("SEND_FAILED", 0)


def test_the_checker_accepts_a_callee_that_is_gone_only_after_the_resume_window() -> None:
    call = _Call()
    call.be_away(1, 95, 130, resumed=False)
    call.end("RECIPIENT_DISCONNECTED", 9.5)
    call = _Call()
    call.be_away(1, 95, 109, resumed=True)
    with pytest.raises(ViolationError, match="neither side had left for good"):
        call.end("RECIPIENT_DISCONNECTED", 9.5)
