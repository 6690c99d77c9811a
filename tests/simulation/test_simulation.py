"""Rooms under random faults: nothing happens that must not, and a seed replays exactly."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from attrs import evolve

from trio_rpc import Room, RoomStatistics, RpcError, RpcInvocationData
from trio_rpc.testing import Faults

from . import run as run_module
from .checker import Checker, ViolationError
from .records import Actor, CallRecord, Session
from .run import Figures, simulate
from .scenario import make_scenario

ROOT = Path(__file__).parent.parent.parent

#: These add up to 10,000 calls, the nested ones not counted.
RUNS = [
    (1, 2_500),
    *(
        pytest.param(*run, marks=pytest.mark.thorough)
        for run in [(2, 2_500), (3, 2_000), (7, 3_000)]
    ),
]


@pytest.mark.rule("C1", "C5", "C7", "C8", "C13", "A5", "A9", "P6", "S6")
@pytest.mark.parametrize(("seed", "calls"), RUNS)
def test_nothing_happens_that_must_not(
    seed: int, calls: int, report_figures: Callable[[Figures], None]
) -> None:
    figures = simulate(seed, calls)
    report_figures(figures)
    assert figures.calls > calls
    assert sum(figures.outcomes.values()) == figures.calls
    # It proves something only if a bit of everything happened.
    assert figures.injected.keys() >= {
        "dropped", "delayed", "duplicated", "reordered", "lost", "cut", "stalled"
    }  # fmt: skip
    assert figures.outcomes.keys() >= {
        "1400", "1401", "1402", "1500", "1501", "1502", "1503", "1504",
        "returned", "raised by handler", "cancelled", "not in the room",
    }  # fmt: skip


@pytest.mark.rule("C1", "C5", "A9")
def test_nothing_happens_that_must_not_on_asyncio(
    report_figures: Callable[[Figures], None],
) -> None:
    figures = simulate(11, 1_500, "asyncio")
    report_figures(figures)
    assert figures.outcomes["returned"] > 300


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.thorough)])
def test_a_seed_replays_exactly(seed: int) -> None:
    first, again, other = simulate(seed, 300), simulate(seed, 300), simulate(seed + 10, 300)
    assert first == again
    assert first.trace != other.trace


@pytest.mark.thorough
def test_a_seed_replays_exactly_in_another_process() -> None:
    def play(hash_seed: str) -> str:
        command = [sys.executable, "-m", "tests.simulation", "--calls", "300", "--seed", "4"]
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        result = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        return result.stdout

    first, again = (play(hash_seed).split("real time")[0] for hash_seed in ("1", "2"))
    assert first == again == f"{simulate(4, 300)}\n"
    assert "violations: 0" in first


def test_a_violation_says_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing_cause(record: CallRecord) -> str | None:
        return "that is forbidden" if record.outcome_name == "1400" else None

    monkeypatch.setattr("tests.simulation.checker.missing_cause", missing_cause)
    with pytest.raises(ViolationError) as raised:
        simulate(1, 300)
    text = str(raised.value)
    assert "ended with 1400 Method not supported at destination" in text
    assert "but that is forbidden" in text
    assert text.endswith("python -m tests.simulation --seed 1 --calls 300 --backend trio")


def test_a_run_that_does_not_end_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "_PATIENCE", 0.0)
    with pytest.raises(ViolationError, match=r"^the run did not come to its end"):
        simulate(1, 50)


# The checker sees what it is there for


class _Steps:
    """The checker, and one call of p0 that is to return."""

    def __init__(self) -> None:
        self.checker = Checker(make_scenario(1, 300))
        actors = [
            Actor(evolve(profile, faults=Faults(), max_concurrent_handlers=1000))
            for profile in self.checker.scenario.profiles
        ]
        (plan, *_) = [
            call
            for call in self.checker.scenario.calls
            if call.answer.kind == "return"
            and call.cancel_after is None
            and call.callee != "nobody"
            and call.method == "do"
        ]
        self.plan = evolve(plan, caller="p0", callee="p1", response_timeout=2.0, padding=0)
        self.sessions = [Session(actor=actor, room=Room(), began=0.0) for actor in actors]
        for actor, session in zip(actors, self.sessions, strict=True):
            actor.sessions.append(session)
        self.record = CallRecord(self.plan, self.sessions[0], actors[1], True, 1.0)
        self.checker.call_started(self.record)

    def answer(self, request_id: str = "id") -> None:
        data = RpcInvocationData(request_id, "p0", self.plan.payload, 1.9)
        run = self.checker.handler_started(data, self.sessions[1], 1.0)
        self.checker.handler_ended(run, 1.0 + self.plan.answer.seconds, "ends")

    def end(self, outcome: object, seconds: float | None = None) -> None:
        after = self.plan.answer.seconds if seconds is None else seconds
        self.checker.call_ended(self.record, 1.0 + after, outcome)


def test_the_checker_accepts_the_answer() -> None:
    steps = _Steps()
    steps.answer()
    steps.end(steps.plan.echo)
    assert steps.checker.violation is None
    assert steps.checker.outcomes == {"returned": 1}


def built_in(name: str) -> RpcError:
    return RpcError.built_in(RpcError.ErrorCode[name])


@pytest.mark.parametrize(
    ("outcome", "seconds", "problem"),
    [
        ('{"echo": 999}', None, "that is not its answer"),
        (RpcError(2999, "", "999"), None, "its handler was to return"),
        (built_in("UNSUPPORTED_METHOD"), 0.0, "there is such a method"),
        (built_in("RECIPIENT_NOT_FOUND"), 0.0, "the callee was there"),
        (built_in("REQUEST_PAYLOAD_TOO_LARGE"), 0.0, "it was not too large"),
        (built_in("UNSUPPORTED_VERSION"), 0.0, "nothing in here makes that happen"),
        (built_in("APPLICATION_ERROR"), 0.5, "nothing is known of that"),
        (built_in("RESPONSE_TIMEOUT"), 2.0, "there was time enough"),
        (built_in("RESPONSE_TIMEOUT"), 1.5, "it should have after 2 s"),
        (built_in("RESPONSE_TIMEOUT"), 2.1, "after its deadline"),
        (built_in("RECIPIENT_DISCONNECTED"), 1.0, "neither side had left"),
        (built_in("RESPONSE_PAYLOAD_TOO_LARGE"), 1.0, "its answer was not too large"),
        (built_in("SEND_FAILED"), 0.0, "the connection was there"),
        (RuntimeError("not joined"), 0.0, "nothing of that kind"),
        (ValueError("?"), 0.0, "nothing of that kind"),
    ],
)
def test_the_checker_refuses_an_outcome_without_its_cause(
    outcome: object, seconds: float | None, problem: str
) -> None:
    steps = _Steps()
    steps.answer()
    with pytest.raises(ViolationError, match=problem):
        steps.end(outcome, seconds)


def test_the_checker_refuses_an_answer_that_no_handler_gave() -> None:
    steps = _Steps()
    with pytest.raises(ViolationError, match="no handler has ended for it"):
        steps.end(steps.plan.echo)


def test_the_checker_refuses_an_outcome_after_a_departure() -> None:
    steps = _Steps()
    steps.checker.other_left(steps.sessions[0], "p1", 1.5)
    with pytest.raises(ViolationError, match="its callee had left before"):
        steps.end(built_in("RECIPIENT_DISCONNECTED"), 1.0)
    steps = _Steps()
    steps.checker.session_began(steps.sessions[0], 0.5)
    steps.sessions[0].disturbed = 1.5
    steps.checker.session_ended(steps.sessions[0], 1.5, "we left")
    with pytest.raises(ViolationError, match="its caller had left before"):
        steps.end(built_in("RECIPIENT_DISCONNECTED"), 1.0)


def test_the_checker_refuses_that_a_participant_is_out_for_nothing() -> None:
    steps = _Steps()
    steps.checker.session_began(steps.sessions[0], 0.5)
    with pytest.raises(ViolationError, match="p0 is out of the room, though nothing"):
        steps.checker.session_ended(steps.sessions[0], 1.5, "STATE_MISMATCH")


@pytest.mark.parametrize(
    ("statistics", "problem"),
    [
        (RoomStatistics(held_bytes=257 * 2**20), "p0 holds more than it may"),
        (RoomStatistics(open_streams=10_001), "p0 has more streams open than it may"),
        (RoomStatistics(pending_calls=2), "p0 has more calls pending than there are"),
    ],
)
def test_the_checker_refuses_more_than_a_room_may_have(
    statistics: RoomStatistics, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = _Steps()
    monkeypatch.setattr(Room, "statistics", lambda _room: statistics)
    with pytest.raises(ViolationError, match=problem):
        steps.checker.session_began(steps.sessions[0], 0.5)


def test_the_checker_refuses_a_second_outcome() -> None:
    steps = _Steps()
    steps.answer()
    steps.end(steps.plan.echo)
    with pytest.raises(ViolationError, match="has ended twice"):
        steps.end(steps.plan.echo)


def test_the_checker_refuses_a_second_run_for_a_request() -> None:
    steps = _Steps()
    steps.answer()
    with pytest.raises(ViolationError, match="ran twice for the request"):
        steps.answer()


def test_the_checker_refuses_a_call_without_an_outcome() -> None:
    with pytest.raises(ViolationError, match="has no outcome"):
        _Steps().checker.all_done()


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_the_command_line_reports_a_violation(
    backend: Literal["trio", "asyncio"],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from . import __main__ as command

    def simulate(*arguments: Any) -> Figures:
        raise ViolationError(f"something happened to {arguments}")

    monkeypatch.setattr(command, "simulate", simulate)
    monkeypatch.setattr(sys, "argv", ["simulation", "--seed", "5", "--backend", backend])
    assert command.main() == 1
    assert capsys.readouterr().err == f"something happened to (5, 10000, '{backend}')\n"
