"""The thread of all links to LiveKit's servers in one event loop.

The first link starts it, and the last one ends it and waits for its end; it belongs to all that are
open meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from attrs import define

from ... import concurrency
from ...webrtc.thread import PeerThread


@define(eq=False)
class _Shared:
    thread: PeerThread
    users: int = 0


_shared: Final[dict[object, _Shared]] = {}


@asynccontextmanager
async def shared_peer_thread() -> AsyncGenerator[PeerThread]:
    """Use the thread of this event loop for the block."""
    backend = concurrency.current()
    event_loop = backend.event_loop()
    shared = _shared.get(event_loop)
    if shared is None:
        shared = _shared[event_loop] = _Shared(PeerThread(backend))
    shared.users += 1
    try:
        yield shared.thread
    finally:
        shared.users -= 1
        if not shared.users:
            # First, so that a link that is opened meanwhile gets a thread of its own.
            del _shared[event_loop]
            await shared.thread.aclose()
