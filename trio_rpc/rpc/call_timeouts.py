"""The watcher of the deadlines of a session's calls: one task for all of them."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping
from typing import Final

from attrs import define, field

from ..concurrency import Backend, CancelScope
from .pending_call import PendingCall

#: The entries of calls that are over which there may be, besides as many as there are others.
_STALE_ENTRIES: Final = 64


@define(eq=False)
class CallTimeouts:
    """The deadlines of calls, each of which is looked at when its time comes.

    Most calls are over by then, or their deadline has moved, since an ack has come. So a heap holds
    the times at which to look, and the calls hold their deadlines.

    Args:
        pending: The calls that wait for an answer, by id.
        time_out: Ends a call whose deadline has passed.
    """

    _backend: Backend
    _pending: Mapping[str, PendingCall]
    _time_out: Callable[[PendingCall], None]
    # The time to look at a call, and its id
    _entries: list[tuple[float, str]] = field(init=False, factory=list[tuple[float, str]])
    _until_pruned: int = field(init=False, default=_STALE_ENTRIES)
    # The scope of the task, and that of each wait with its deadline
    _running: CancelScope = field(init=False)
    _waiting: CancelScope = field(init=False)
    _wakes_at: float = field(init=False, default=-math.inf)

    def __attrs_post_init__(self) -> None:
        self._running = self._backend.cancel_scope(shield=True)

    def watch(self, call: PendingCall) -> None:
        """End a call in time that waits for an ack, from now on or to a new deadline."""
        look_at = call.ack_by
        heapq.heappush(self._entries, (look_at, call.request_id))
        if look_at < self._wakes_at:
            self._wakes_at = self._waiting.deadline = look_at
        self._until_pruned -= 1
        if not self._until_pruned:
            self._prune()

    def _prune(self) -> None:
        # Those that are acknowledged are looked at once more.
        self._entries = [(call.ack_by, name) for name, call in self._pending.items()]
        heapq.heapify(self._entries)
        self._until_pruned = len(self._entries) + _STALE_ENTRIES

    async def run(self) -> None:
        """End each call at its deadline, until `stop`.

        Shielded: the calls of clean-up code have deadlines too.
        """
        with self._running:
            while True:
                self._wakes_at = self._look(self._backend.current_time())
                with self._backend.cancel_scope(deadline=self._wakes_at) as self._waiting:
                    await self._backend.sleep_forever()

    def stop(self) -> None:
        """Stop: there are no calls any more."""
        self._running.cancel()

    def _look(self, now: float) -> float:
        """End the calls whose deadline has passed; return when to look again."""
        entries = self._entries
        while entries:
            look_at, request_id = entries[0]
            call = self._pending.get(request_id)
            if call is None:
                heapq.heappop(entries)
            elif look_at > now:
                return look_at
            elif call.deadline > now:
                heapq.heapreplace(entries, (call.deadline, request_id))
            else:
                heapq.heappop(entries)
                self._time_out(call)
        return math.inf
