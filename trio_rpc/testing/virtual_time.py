"""Virtual time: when no task is ready to run, the clock jumps to the next timer.

trio has `trio.testing.MockClock(autojump_threshold=0)` for that; `VirtualTimeLoop` is the same for
asyncio. A test that waits for a minute then takes no time, and sees the clock advance by exactly a
minute.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final, Literal, TypeVarTuple

import trio.testing

_Arguments = TypeVarTuple("_Arguments")

#: The ticks of the clock in a second, each longer than what asyncio calls back too early by.
_TICKS: Final = 500_000_000


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.now = 0.0
        self._threshold = threshold

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(self._threshold)
        if not ready:
            # The sum may be a little less than the time of the timer.
            self.now = round((self.now + timeout) * _TICKS) / _TICKS
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """asyncio's selector event loop on a clock that starts at 0 and jumps.

        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(main())

    The clock also jumps while a task waits for something outside of the loop, such as a socket or a
    worker thread. A test with such waits runs in real time, or with a threshold.

    It ticks every two nanoseconds, and whoever waits for less waits for a tick: asyncio calls back
    up to a nanosecond too early, and two tasks that then wait for the rest would keep each other
    awake, and the clock where it is.

    Args:
        autojump_threshold: Idle seconds in real time after which the clock jumps.
    """

    def __init__(self, *, autojump_threshold: float = 0.0) -> None:
        self._jumping_selector = _JumpingSelector(autojump_threshold)
        super().__init__(self._jumping_selector)

    def time(self) -> float:
        """Return the virtual seconds since the loop was created."""
        return self._jumping_selector.now

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Arguments], object],
        *args: *_Arguments,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call a function at a time; at the next tick if the time comes before that."""
        now = self.time()
        if when > now and math.isfinite(when):
            # A tenth of a tick is more than sums of fractions are off by.
            when = max(math.ceil(when * _TICKS - 0.1), round(now * _TICKS) + 1) / _TICKS
        return super().call_at(when, callback, *args, context=context)

    def jump(self, seconds: float) -> None:
        """Advance the clock at once, as a callback that blocks does; as `MockClock.jump`."""
        self._jumping_selector.now += seconds


def virtual_time_backend(name: Literal["trio", "asyncio"]) -> tuple[str, dict[str, Any]]:
    """Return the value of the fixture `anyio_backend` of anyio's pytest plugin for virtual time.

    It also has the `backend` and `backend_options` of `anyio.run`. A clock is for one run: call
    this function for each.

    Args:
        name: The event loop.

    Raises:
        ValueError: the name is neither of the two.
    """
    match name:
        case "trio":
            return name, {"clock": trio.testing.MockClock(autojump_threshold=0)}
        case "asyncio":
            return name, {"loop_factory": VirtualTimeLoop}
        case _:
            raise ValueError(f"virtual time is for trio and asyncio, not for {name!r}")
