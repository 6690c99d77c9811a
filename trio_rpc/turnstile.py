"""A bounded number of places, taken strictly in the order of coming (rule A13)."""

from __future__ import annotations

from collections import deque
from typing import Final

from attrs import define

from .concurrency import Backend, Event


@define(eq=False)
class Turn:
    """Somebody's turn: theirs at once, or waited for.

    Attributes:
        event: Set when it is their turn; None when it was at once.
    """

    event: Event | None = None


_AT_ONCE: Final = Turn()


class Turnstile:
    """Gives out places; who comes when none is free waits in line.

    A semaphore would do the same, except that one lines up here without waiting: two tasks that
    begin in one tick may run in either order, but the requests that they are for came in one.
    """

    def __init__(self, backend: Backend, places: int) -> None:
        self._backend = backend
        self._free = places
        self._line: deque[Turn] = deque()

    def line_up(self) -> Turn:
        """Take a place, or stand in line for one; `leave` has to follow in either case."""
        if self._free:
            self._free -= 1
            return _AT_ONCE
        turn = Turn(self._backend.event())
        self._line.append(turn)
        return turn

    async def wait(self, turn: Turn) -> None:
        """Wait until it is one's turn."""
        if turn.event is not None:
            await turn.event.wait()

    def leave(self, turn: Turn) -> None:
        """Give the place to the next in line, or leave the line."""
        if turn.event is not None and not turn.event.is_set():
            self._line.remove(turn)
        elif self._line:
            event = self._line.popleft().event
            assert event is not None
            event.set()
        else:
            self._free += 1
