"""Time that jumps."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from typing import Any

import anyio
import pytest

from trio_rpc.testing import VirtualTimeLoop, virtual_time_backend


def run(main: Any) -> Any:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main())


def test_a_day_passes_at_once_and_is_exactly_a_day() -> None:
    async def main() -> float:
        started = asyncio.get_running_loop().time()
        await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time() - started

    started = time.monotonic()
    assert run(main) == 86_400
    assert time.monotonic() - started < 60


def test_timers_go_off_in_order() -> None:
    async def main() -> list[float]:
        order: list[float] = []

        async def sleep(seconds: float) -> None:
            await asyncio.sleep(seconds)
            order.append(asyncio.get_running_loop().time())

        await asyncio.gather(*map(sleep, (3, 1, 2, 1)))
        return order

    assert run(main) == [1, 1, 2, 3]


def test_two_who_wait_for_the_rest_of_a_time_do_not_keep_the_clock_from_moving() -> None:
    async def main() -> list[int]:
        now = asyncio.get_running_loop().time

        async def wait_until(time: float) -> int:
            waits = 0
            while (rest := time - now()) > 0 and waits < 10:
                waits += 1
                await asyncio.sleep(rest)
            return waits

        times = (0.7, math.nextafter(0.7, 1), math.nextafter(0.7, 1))
        return await asyncio.gather(*map(wait_until, times))

    assert max(run(main)) <= 2


def test_sums_of_fractions_are_exact() -> None:
    async def main() -> float:
        for _ in range(100):
            await asyncio.sleep(0.1)
        return asyncio.get_running_loop().time()

    assert run(main) == 10


def test_time_does_not_jump_while_something_can_run() -> None:
    async def main() -> tuple[int, float]:
        turns = 0
        with anyio.move_on_after(1):
            while turns < 1000:
                turns += 1
                await asyncio.sleep(0)
        return turns, asyncio.get_running_loop().time()

    assert run(main) == (1000, 0.0)


def test_with_a_threshold_a_thread_comes_before_the_jump() -> None:
    def loop_factory() -> VirtualTimeLoop:
        return VirtualTimeLoop(autojump_threshold=30)

    async def main() -> float:
        done = threading.Event()
        timer = threading.Timer(0.01, done.set)
        timer.start()
        async with asyncio.timeout(3600):
            await asyncio.to_thread(done.wait)
        timer.join()
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(main()) == 0


@pytest.mark.parametrize("name", ["trio", "asyncio"])
def test_anyio_runs_in_virtual_time_on_both_backends(name: Any) -> None:
    async def main() -> float:
        started = anyio.current_time()
        await anyio.sleep(3600)
        return anyio.current_time() - started

    for _ in range(2):
        backend, options = virtual_time_backend(name)
        assert backend == name
        assert anyio.run(main, backend=backend, backend_options=options) == 3600


def test_there_is_no_virtual_time_on_another_backend() -> None:
    with pytest.raises(
        ValueError, match=r"^virtual time is for trio and asyncio, not for 'uvloop'$"
    ):
        virtual_time_backend("uvloop")  # type: ignore[arg-type]
