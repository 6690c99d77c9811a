"""Draining: the participants of a server that shuts down join again elsewhere (rule L10).

    room     calls in flight end, for half of the time ─► nothing more is queued for its members
    member                   everything that is queued is sent, until the time is over ─► leave

Calls between participants that keep outcomes and ask again (L7, L8) are not waited for: they go on
after the rejoin. A room's members are asked together. None of them joins another server while the
others still call it here, and none is told that the others have left.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..concurrency import Backend
from ..errors import DisconnectReason
from .rooms.member import Member
from .rooms.room import ServerRoom

#: Seconds that draining takes at the most, unless set otherwise. Half of it is the default time of
#: a call.
DEFAULT_DRAIN_TIMEOUT: Final = 20.0
#: The close reason of a server that shuts down.
SHUTDOWN_TEXT: Final = "the server shuts down"
#: Seconds between the looks whether calls are in flight.
_LOOK_INTERVAL: Final = 0.02


async def drain_rooms(backend: Backend, rooms: Iterable[ServerRoom], seconds: float) -> None:
    """Ask the participants of all rooms to join again, after what is in flight for them.

    Args:
        seconds: Seconds after which they are asked in any case.
    """
    deadline = backend.current_time() + seconds
    async with backend.open_nursery() as nursery:
        for room in rooms:
            nursery.start_soon(_drain_room, backend, room, seconds / 2, deadline)


async def _drain_room(backend: Backend, room: ServerRoom, patience: float, deadline: float) -> None:
    with backend.move_on_after(patience):
        while room.has_calls_to_lose():
            await backend.sleep(_LOOK_INTERVAL)
    async with backend.open_nursery() as nursery:
        for member in room.stop():
            nursery.start_soon(_ask_to_join_again, backend, member, deadline)


async def _ask_to_join_again(backend: Backend, member: Member, deadline: float) -> None:
    with backend.cancel_scope(deadline=deadline):
        await member.send_queue.wait_sent()
    member.disconnect(DisconnectReason.SERVER_SHUTDOWN, SHUTDOWN_TEXT, joins_again=True)
