"""The limits on how long a test may take: they end every wait that nothing else ends."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final

import anyio
import pytest

#: Virtual seconds, more than any test needs: one that only waits fails at once.
VIRTUAL_LIMIT: Final = 100_000.0
#: Real seconds that an async test may wait, on a machine with twenty times as much to do as it can.
REAL_LIMIT: Final = 240.0
#: The same for tests marked `thorough`.
THOROUGH_LIMIT: Final = 2_400.0
#: Real seconds after which a test is interrupted that blocks the process, in multiples of these.
ALARM_FACTOR: Final = 2.5

AsyncTest = Callable[..., Awaitable[None]]


def time_limit(item: pytest.Item) -> float:
    """Return the seconds that an async test may take, on the clock that it runs on."""
    if not item.get_closest_marker("real_time"):
        return VIRTUAL_LIMIT
    return THOROUGH_LIMIT if item.get_closest_marker("thorough") else REAL_LIMIT


@contextmanager
def alarm(item: pytest.Item) -> Iterator[None]:
    """Interrupt a test that blocks the process for too long, as one that is not async does."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    limit = THOROUGH_LIMIT if item.get_closest_marker("thorough") else REAL_LIMIT
    seconds = ALARM_FACTOR * limit

    def interrupt(*_: object) -> None:
        raise TimeoutError(f"the test still ran here after {seconds:g} s")

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def limited(test: AsyncTest, seconds: float) -> AsyncTest:
    """Return the same test, which fails where it still waits after `seconds`.

    No scope around the test has a deadline: calls would take it for one of their own (C3).
    """

    @wraps(test)
    async def limited_test(*args: Any, **kwargs: Any) -> None:
        failure, waited_at = None, None
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as scope:
                tasks.start_soon(_cancel_after, seconds, scope)
                try:
                    await test(*args, **kwargs)
                except anyio.get_cancelled_exc_class() as cancelled:
                    waited_at = cancelled.__traceback__
                    raise
                except BaseException as raised:  # It leaves outside of the group.
                    failure = raised
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if scope.cancelled_caught:
            error = TimeoutError(f"the test still waited here after {seconds:g} s")
            raise error.with_traceback(waited_at)

    return limited_test


async def _cancel_after(seconds: float, scope: anyio.CancelScope) -> None:
    await anyio.sleep(seconds)
    scope.cancel()
