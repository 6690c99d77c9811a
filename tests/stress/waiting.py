"""Waiting for what no event tells of."""

from __future__ import annotations

from collections.abc import Callable

import anyio


async def until(condition: Callable[[], bool], *, within: float = 10.0) -> None:
    """Wait until `condition` is true.

    Raises:
        TimeoutError: it was not within so many seconds.
    """
    with anyio.fail_after(within):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.01)
