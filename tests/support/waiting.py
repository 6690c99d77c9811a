"""Waiting for a state that no event reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio

#: Seconds between two looks, at first and later on.
_INTERVAL: Final = 0.001
_MAX_INTERVAL: Final = 0.1


async def wait_until(condition: Callable[[], object], *, within: float = 60.0) -> None:
    """Wait until `condition` returns something true.

    Args:
        within: Seconds on the clock of the test after which it should have. Less than the default
            is for virtual time: a busy machine may take its time.

    Raises:
        TimeoutError: it has not.
    """
    interval = _INTERVAL
    with anyio.fail_after(within):
        while not condition():
            await anyio.sleep(interval)
            interval = min(2 * interval, _MAX_INTERVAL)
