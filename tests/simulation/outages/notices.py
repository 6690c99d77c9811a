"""Numbered data of the server's own, of which no session loses any or gets any twice."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import anyio
from attrs import define, field

from trio_rpc.testing.rooms import DEFAULT_ROOM

from ..records import Session

if TYPE_CHECKING:
    from ..world import World

TOPIC: Final = "notices"
_INTERVAL: Final = 0.2


@define(eq=False)
class Notices:
    """The notices of a run.

    Args:
        fail: Reports a violation.
    """

    _fail: Callable[[str], object]
    _sent: int = 0
    # The last notice of each session, and when it came
    _last: WeakKeyDictionary[Session, tuple[int, float]] = field(factory=WeakKeyDictionary)

    async def send(self, world: World) -> None:
        """Send a notice to everybody in the room now and then, until cancelled."""
        while True:
            await anyio.sleep(_INTERVAL)
            self._sent += 1
            # There is no room while nobody is in it.
            with suppress(LookupError):
                world.server.send_data(DEFAULT_ROOM, str(self._sent).encode(), topic=TOPIC)

    def on_received(self, session: Session, data: bytes) -> None:
        """Check that a notice is the one after the last that its receiver has."""
        number, now = int(data), anyio.current_time()
        last, at = self._last.get(session, (number - 1, now))
        self._last[session] = number, now
        if number <= last:
            self._fail(f"{session.identity} got notice {number} after {last}")
        began_anew = any(not each.resumed for each in session.actor.outages_in(at, now))
        if number > last + 1 and not began_anew:
            self._fail(f"{session.identity} lost {number - last - 1} notices after {last}")
