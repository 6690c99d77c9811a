"""The rooms that there are, and for how long those without participants stay."""

from __future__ import annotations

from collections.abc import Iterator

from ... import concurrency
from ...concurrency import Event
from ...errors import RefusedError
from ..limits import ServerLimits
from .room import RoomSettings, ServerRoom


class RoomTable:
    """The rooms of a server, by name.

    A room without participants may have some time left (R2). No task waits for that to pass: such
    a room has nobody who could tell when it goes, so it goes when it is looked for the next time.
    """

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._rooms: dict[str, ServerRoom] = {}
        # Of the rooms without participants: until when they stay
        self._expiries: dict[str, float] = {}
        self._all_gone: Event | None = None

    def __len__(self) -> int:
        self._forget_expired()
        return len(self._rooms)

    def __iter__(self) -> Iterator[ServerRoom]:
        self._forget_expired()
        return iter(tuple(self._rooms.values()))

    def find(self, name: str) -> ServerRoom | None:
        """The room of that name, if there is one."""
        if name in self._expiries:
            self._forget_expired()
        return self._rooms.get(name)

    def get(self, name: str) -> ServerRoom:
        """The room of that name.

        Raises:
            LookupError: there is none.
        """
        room = self.find(name)
        if room is None:
            raise LookupError(f"there is no room {name!r}")
        return room

    def check_space(self) -> None:
        """Refuse a room that would be one too many.

        Raises:
            RefusedError: it would be.
        """
        limit = self._limits.max_rooms
        if len(self._rooms) >= limit and len(self) >= limit:
            raise RefusedError(429, f"the server has {limit} rooms, which is its limit")

    def create(self, name: str, settings: RoomSettings) -> ServerRoom:
        """Make a room that waits for participants.

        Raises:
            RefusedError: it would be one too many, or the server shuts down.
        """
        if self._all_gone is not None:
            raise RefusedError(503, "the server shuts down")
        room = self._make(name, settings)
        self._expiries[name] = _now() + settings.empty_timeout
        return room

    def enter(self, name: str) -> ServerRoom:
        """The room of that name, for somebody who joins it now; it is made if need be.

        Raises:
            RefusedError: it would be one too many.
        """
        room = self.find(name) or self._make(name, RoomSettings())
        self._expiries.pop(name, None)
        return room

    def forget(self, name: str) -> None:
        """Let a room go, in which nobody is any more."""
        del self._rooms[name]
        self._expiries.pop(name, None)
        if not self._rooms and self._all_gone is not None:
            self._all_gone.set()

    async def wait_all_gone(self) -> None:
        """Wait until the last participants are gone; rooms without any go at once from now on."""
        if self._all_gone is None:
            # Several may wait: whoever serves the rooms in one way or another.
            self._all_gone = concurrency.current().event()
        for name in tuple(self._expiries):
            self.forget(name)
        if self._rooms:
            await self._all_gone.wait()

    def _make(self, name: str, settings: RoomSettings) -> ServerRoom:
        self.check_space()
        room = ServerRoom(name, self._limits, lambda: self._on_empty(name), settings)
        self._rooms[name] = room
        return room

    def _on_empty(self, name: str) -> None:
        timeout = self._rooms[name].settings.departure_timeout
        if timeout and self._all_gone is None:
            self._expiries[name] = _now() + timeout
        else:
            self.forget(name)

    def _forget_expired(self) -> None:
        if self._expiries:
            now = _now()
            for name in [name for name, expiry in self._expiries.items() if expiry <= now]:
                self.forget(name)


def _now() -> float:
    return concurrency.current().current_time()
