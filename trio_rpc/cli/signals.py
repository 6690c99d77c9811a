"""Ctrl-C and SIGTERM: the first one asks a command to end, the second one ends it."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskStatus

from .exits import InterruptedBySignalError

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


async def wait_for_signal(*, task_status: TaskStatus[None]) -> int:
    """Wait for a signal to end; a second one then kills the process.

    Run this with `nursery.start`, so that it is ready before any signal comes.

    Returns:
        The number of the signal.
    """
    with anyio.open_signal_receiver(*_SIGNALS) as signals:
        task_status.started()
        number = await anext(aiter(signals))
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    return number


async def run_until_signal(command: Callable[[], Awaitable[None]]) -> None:
    """Run a command, which a signal cancels.

    Raises:
        InterruptedBySignalError: a signal came first.
    """
    interruption: list[int] = []

    async def watch(scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
        interruption.append(await wait_for_signal(task_status=task_status))
        scope.cancel()

    async with anyio.create_task_group() as task_group:
        await task_group.start(partial(watch, task_group.cancel_scope))
        await command()
        task_group.cancel_scope.cancel()
    if interruption:
        raise InterruptedBySignalError(interruption[0])
