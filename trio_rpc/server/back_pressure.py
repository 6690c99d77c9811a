"""Waiting for participants whose queues are full, since they read too slowly (B8)."""

from __future__ import annotations

from ..concurrency import Backend, Event
from .rooms.backlog import Backlog, Cause


async def wait_for_room(
    backend: Backend, backlog: Backlog, size: int, limit: int | None = None
) -> None:
    """Wait until a participant's queue has room for `size` bytes, or the participant is gone.

    Args:
        limit: The most bytes that may be queued before them; by default, the limit from which
            on packets wait.
    """
    over = backend.event()
    with backlog.waiting_for_room(size, over.set, limit):
        await _wait_patiently(backend, backlog, over)


async def wait_for_share(backend: Backend, backlog: Backlog, cause: Cause) -> None:
    """Wait until a cause has no more than a fair share of a queue, or the participant is gone."""
    over = backend.event()
    with backlog.waiting_for_share(cause, over.set):
        await _wait_patiently(backend, backlog, over)


async def _wait_patiently(backend: Backend, backlog: Backlog, over: Event) -> None:
    """Wait for an event; a participant without a connection leaves after a while (L6)."""
    while not over.is_set():
        with backend.move_on_after(backlog.patience):
            await over.wait()
            return
        backlog.on_impatience()
