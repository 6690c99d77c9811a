"""Runs a scenario in virtual time, so that the same seed gives the same run."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import anyio
import trio
from attrs import frozen

from trio_rpc.testing import virtual_time_backend

from .checker import Checker, ViolationError
from .scenario import make_scenario
from .world import World

#: Virtual seconds after the last call by which a run must have come to its end.
_PATIENCE = 600.0


@frozen
class Figures:
    """What a run has shown.

    Attributes:
        trace: A digest of all steps; equal for runs that are equal.
    """

    calls: int
    steps: int
    outcomes: Counter[str]
    injected: Counter[str]
    disturbances: Counter[str]
    trace: str

    def __str__(self) -> str:
        return "\n".join(
            (
                f"calls: {self.calls:,}, steps: {self.steps:,}, violations: 0",
                f"faults injected: {_table(self.injected)}",
                f"participants that were to: {_table(self.disturbances)}",
                f"outcomes: {_table(self.outcomes)}",
                f"trace: {self.trace}",
            )
        )


def simulate(seed: int, calls: int, backend: Literal["trio", "asyncio"] = "trio") -> Figures:
    """Run the scenario of a seed.

    On trio a seed replays exactly. On asyncio the scenario and its faults are the same, but what
    happens at one moment may be in another order: anyio keeps the tasks of a scope in a set.

    Raises:
        ViolationError: something happened that must not; the text says how to see it again.
    """
    checker = Checker(make_scenario(seed, calls))
    last = checker.scenario.calls[-1].at

    injected: Counter[str] = Counter()
    over_time = False

    async def main() -> None:
        nonlocal injected, over_time
        with anyio.CancelScope(deadline=last + _PATIENCE) as patience:
            try:
                world = World(checker)
                await world.play()
                injected = world.injected
            finally:
                over_time = patience.cancel_called

    name, options = virtual_time_backend(backend)
    cause: Exception | None = None
    try:
        with _deterministic(seed), _quiet():
            anyio.run(main, backend=name, backend_options=options)
    except Exception as error:
        cause = error
    problem = checker.violation or (repr(cause) if cause else None)
    if over_time:
        problem = f"the run did not come to its end\nafter these steps:\n{checker.last_steps}"
    if problem is not None:
        raise ViolationError(_report(seed, calls, backend, problem)) from cause
    return Figures(
        calls=len(checker.records),
        steps=checker.steps,
        outcomes=checker.outcomes,
        injected=injected,
        disturbances=Counter(each.kind for each in checker.scenario.disturbances),
        trace=checker.trace,
    )


def _report(seed: int, calls: int, backend: str, problem: str) -> str:
    command = f"python -m tests.simulation --seed {seed} --calls {calls} --backend {backend}"
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
    try:
        yield
    finally:
        run._ALLOW_DETERMINISTIC_SCHEDULING = before
        run._r.setstate(state)


@contextmanager
def _quiet() -> Iterator[None]:
    """Handlers crash on purpose, by the thousand."""
    logger = logging.getLogger("trio_rpc")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _table(counts: Counter[str]) -> str:
    return ", ".join(f"{kind} {count:,}" for kind, count in sorted(counts.items()))
