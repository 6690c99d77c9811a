"""Ending the event loop of peer connections in the midst of what it does."""

from __future__ import annotations

import gc
import warnings

from trio_rpc.server import PeerThread


def stop_loop(thread: PeerThread) -> None:
    """End the event loop of the thread."""
    assert thread._loop is not None
    thread._loop.call_soon_threadsafe(thread._loop.stop)


def collect() -> None:
    """Have what an interrupted event loop left behind complain now, and not in other tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()
