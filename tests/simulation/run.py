"""Runs a scenario in virtual time, so that the same seed gives the same run."""

from __future__ import annotations

import logging
import random
import shlex
import traceback
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
import trio
from attrs import Factory, evolve, frozen

from trio_rpc.testing import virtual_time_backend

from .checker import Checker, ViolationError
from .hostile.adversary import HostileParty
from .hostile.honest_side import HonestSide
from .hostile.plan import make_hostile_scenario
from .outages.party import OutageParty
from .outages.plan import make_outage_scenario
from .scenario import make_scenario
from .world import Visitors, World

BackendName = Literal["trio", "asyncio"]

#: Virtual seconds after the last call by which a run must have come to its end.
_PATIENCE = 600.0


@frozen
class Figures:
    """The results of a run.

    Attributes:
        trace: A digest of all steps; equal for runs that are equal.
        facts: The facts that were reached, where there were adversaries or outages, and how often.
    """

    calls: int
    steps: int
    outcomes: Counter[str]
    injected: Counter[str]
    disturbances: Counter[str]
    trace: str
    facts: Counter[str] = Factory(Counter[str])

    def __str__(self) -> str:
        return "\n".join(
            (
                f"calls: {self.calls:,}, steps: {self.steps:,}, violations: 0",
                f"faults injected: {_table(self.injected)}",
                f"participants that were to: {_table(self.disturbances)}",
                f"outcomes: {_table(self.outcomes)}",
                *([f"facts reached: {_table(self.facts)}"] if self.facts else []),
                f"trace: {self.trace}",
            )
        )


def simulate(seed: int, calls: int, backend: BackendName = "trio") -> Figures:
    """Run the scenario of a seed.

    On trio a seed replays exactly. On asyncio the scenario and its faults are the same, but what
    happens at one moment may be in another order: anyio keeps the tasks of a scope in a set.

    Raises:
        ViolationError: something happened that must not; the text says how to see it again.
    """
    return _run(Checker(make_scenario(seed, calls)), None, backend, f"--calls {calls}")


def simulate_hostile(
    seed: int, calls: int, backend: BackendName = "trio", moves: Collection[str] | None = None
) -> Figures:
    """Run the scenario of a seed with adversaries in it.

    Args:
        moves: Which moves they play; all unless given.

    Raises:
        ViolationError: something happened that must not; the text says how to see it again.
    """
    scenario = make_hostile_scenario(seed, calls, moves)
    checker = Checker(scenario)
    party = HostileParty(scenario, HonestSide(checker, scenario.may_send))
    options = f"--adversary --calls {calls}"
    if moves is not None:
        options += "".join(f" --move {shlex.quote(move)}" for move in moves)
    figures = _run(checker, party, backend, options)
    return evolve(figures, facts=party.sometimes.reached)


def simulate_outages(seed: int, calls: int, backend: BackendName = "trio") -> Figures:
    """Run the scenario of a seed whose network fails.

    Raises:
        ViolationError: something happened that must not; the text says how to see it again.
    """
    scenario = make_outage_scenario(seed, calls)
    checker = Checker(scenario)
    party = OutageParty(scenario, checker)
    figures = _run(checker, party, backend, f"--outages --calls {calls}")
    return evolve(figures, facts=party.sometimes.reached)


def _run(
    checker: Checker, visitors: Visitors | None, backend: BackendName, options: str
) -> Figures:
    seed = checker.scenario.seed
    last = checker.scenario.calls[-1].at
    injected: Counter[str] = Counter()
    over_time = False

    async def main() -> None:
        nonlocal injected, over_time
        with anyio.CancelScope(deadline=last + _PATIENCE) as patience:
            checker.on_violation = patience.cancel
            try:
                world = World(checker, visitors)
                await world.play()
                injected = world.injected
            finally:
                over_time = anyio.current_time() >= patience.deadline

    name, backend_options = virtual_time_backend(backend)
    cause: Exception | None = None
    try:
        with _deterministic(seed), _quiet():
            anyio.run(main, backend=name, backend_options=backend_options)
    except Exception as error:
        cause = error
    problem = checker.violation
    if over_time:
        problem = f"the run did not come to its end\nafter these steps:\n{checker.last_steps}"
    if cause is not None:
        problem = "\n".join(filter(None, (problem, *_failures(cause))))
    if problem is not None:
        command = f"python -m tests.simulation --seed {seed} {options} --backend {backend}"
        raise ViolationError(_report(problem, command, backend)) from cause
    return Figures(
        calls=len(checker.records),
        steps=checker.steps,
        outcomes=checker.outcomes,
        injected=injected,
        disturbances=Counter(each.kind for each in checker.scenario.disturbances),
        trace=checker.trace,
    )


def _failures(error: BaseException) -> Iterator[str]:
    """Yield the failures in an exception, and their places."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _failures(each)
    elif not isinstance(error, ViolationError):
        where = traceback.extract_tb(error.__traceback__)[-1]
        yield f"{error!r}"[:500] + f" in {where.name} ({Path(where.filename).name}:{where.lineno})"


def _report(problem: str, command: str, backend: str) -> str:
    order = "" if backend == "trio" else "\n(the order within one moment may differ on asyncio)"
    return f"{problem}\nsee it again with\n{command}{order}"


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """Have trio run its tasks in an order that depends on the seed alone."""
    # As Hypothesis does it: trio shuffles what is ready on purpose, with these two.
    run: Any = trio._core._run
    before, state = run._ALLOW_DETERMINISTIC_SCHEDULING, run._r.getstate()
    run._ALLOW_DETERMINISTIC_SCHEDULING = True
    run._r.seed(seed)
    # The delays of reconnecting
    before_random = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        run._ALLOW_DETERMINISTIC_SCHEDULING = before
        run._r.setstate(state)
        random.setstate(before_random)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the log: handlers crash on purpose, by the thousand."""
    logger = logging.getLogger("trio_rpc")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _table(counts: Counter[str]) -> str:
    return ", ".join(f"{kind} {count:,}" for kind, count in sorted(counts.items()))
