"""Time that jumps: when nothing is ready to run, it is at once the time of the next timer.

trio has that as `trio.testing.MockClock(autojump_threshold=0)`; `VirtualTimeLoop` is the same for
asyncio. A test that waits for a minute then takes no time, and sees the clock advance by exactly a
minute.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import Any, Literal

import trio.testing


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
            self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """asyncio's selector event loop on a clock that starts at 0 and jumps.

        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(main())

    What comes from outside of the loop, from a socket or a worker thread, does not keep time from
    jumping while it is waited for. A test that needs it runs in real time, or has a threshold.

    Args:
        autojump_threshold: Real seconds of nothing to do after which time jumps.
    """

    def __init__(self, *, autojump_threshold: float = 0.0) -> None:
        self._jumping_selector = _JumpingSelector(autojump_threshold)
        super().__init__(self._jumping_selector)

    def time(self) -> float:
        """The time in seconds since the loop was made, all of them skipped."""
        return self._jumping_selector.now

    def jump(self, seconds: float) -> None:
        """Let time pass at once, as a callback that blocks does; `MockClock` has the same."""
        self._jumping_selector.now += seconds


def virtual_time_backend(name: Literal["trio", "asyncio"]) -> tuple[str, dict[str, Any]]:
    """What the fixture `anyio_backend` of anyio's pytest plugin returns for virtual time.

    Also the `backend` and `backend_options` of `anyio.run`. The clock is used up by one run: call
    this for each.

    Args:
        name: The event loop.

    Raises:
        ValueError: it is neither of the two.
    """
    match name:
        case "trio":
            return name, {"clock": trio.testing.MockClock(autojump_threshold=0)}
        case "asyncio":
            return name, {"loop_factory": VirtualTimeLoop}
        case _:
            raise ValueError(f"virtual time is for trio and asyncio, not for {name!r}")
