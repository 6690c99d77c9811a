"""The rooms of a server, and the lifetime of rooms without participants."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from ...errors import RefusedError
from ..limits import ServerLimits
from .room import RoomSettings, ServerRoom

#: The settings of a room that a joining participant makes.
_BY_PARTICIPANTS: Final = RoomSettings()
#: Seconds between the removals of what has expired, while rooms are looked up by name.
_SWEEP_INTERVAL: Final = 5.0


class RoomObserver(Protocol):
    """A listener to the rooms of a server."""

    def on_made(self, room: ServerRoom) -> None: ...
    def on_forgotten(self, room: ServerRoom) -> None: ...


class RoomTable:
    """The rooms of a server, by name.

    A room without participants may have some time left (R2). No task waits for its end: nobody is
    in the room to notice, so it is removed when rooms are next looked up.

    Args:
        limits: The limits of the server.
        clock: Returns the time, in seconds.
        room_type: The type of the rooms.

    Attributes:
        now: The same clock.
        observer: Told of each room that is made, and of each that is gone.
    """

    observer: RoomObserver | None = None

    def __init__(
        self,
        limits: ServerLimits,
        clock: Callable[[], float],
        room_type: type[ServerRoom] = ServerRoom,
    ) -> None:
        self._limits = limits
        self._room_type = room_type
        self.now = clock
        self._rooms: dict[str, ServerRoom] = {}
        # The times at which rooms without participants expire
        self._expiries: dict[str, float] = {}
        # Those of them that nobody has created, which make room for others: the oldest first
        self._leftovers: dict[str, None] = {}
        self._sweep_at = -math.inf
        self._closed = False
        self._on_all_gone: list[Callable[[], None]] = []

    def __len__(self) -> int:
        self._forget_expired()
        return len(self._rooms)

    def __iter__(self) -> Iterator[ServerRoom]:
        self._forget_expired()
        return iter(tuple(self._rooms.values()))

    def find(self, name: str) -> ServerRoom | None:
        """Return the room of that name; None if there is none."""
        self._sweep()
        if self._expiries.get(name, math.inf) <= self.now():
            self.forget(name)
        if (room := self._rooms.get(name)) is not None:
            # The room is removed with its last member.
            room.expire_detached(self.now())
        return self._rooms.get(name)

    def get(self, name: str) -> ServerRoom:
        """Return the room of that name.

        Raises:
            LookupError: there is none.
        """
        room = self.find(name)
        if room is None:
            raise LookupError(f"there is no room {name!r}")
        return room

    def check_space(self) -> None:
        """Check that there may be another room.

        Raises:
            RefusedError: the server has as many rooms as it may.
        """
        limit = self._limits.max_rooms
        if len(self._rooms) < limit or self._leftovers:
            return
        self._forget_expired()
        if len(self._rooms) >= limit:
            raise RefusedError(429, f"the server has {limit} rooms, which is its limit")

    def create(self, name: str, settings: RoomSettings) -> ServerRoom:
        """Create a room that waits for participants.

        Raises:
            RefusedError: the server has as many rooms as it may, or shuts down.
        """
        if self._closed:
            raise RefusedError(503, "the server shuts down")
        room = self._make(name, settings)
        self._expiries[name] = self.now() + settings.empty_timeout
        return room

    def enter(self, name: str) -> ServerRoom:
        """Return the room of that name for a joining participant; create it if need be.

        Raises:
            RefusedError: the server has as many rooms as it may.
        """
        room = self.find(name) or self._make(name, _BY_PARTICIPANTS)
        self._expiries.pop(name, None)
        self._leftovers.pop(name, None)
        return room

    def forget(self, name: str) -> None:
        """Remove a room without participants."""
        room = self._rooms.pop(name)
        self._expiries.pop(name, None)
        self._leftovers.pop(name, None)
        if self.observer is not None:
            self.observer.on_forgotten(room)
        if self._closed and not self._rooms:
            self._tell_all_gone()

    def close(self, on_all_gone: Callable[[], None]) -> None:
        """Create no more rooms, and keep none that is empty.

        Args:
            on_all_gone: Called when the last participants are gone; at once if there are none.
        """
        self._closed = True
        # There may be several: each listener shuts the server down.
        self._on_all_gone.append(on_all_gone)
        for name in tuple(self._expiries):
            self.forget(name)
        if not self._rooms:
            self._tell_all_gone()

    def _tell_all_gone(self) -> None:
        for tell in self._on_all_gone:
            tell()
        self._on_all_gone.clear()

    def _make(self, name: str, settings: RoomSettings) -> ServerRoom:
        self.check_space()
        if len(self._rooms) >= self._limits.max_rooms:
            self.forget(next(iter(self._leftovers)))
        room = self._room_type(name, self._limits, lambda: self._on_empty(name), settings)
        self._rooms[name] = room
        if self.observer is not None:
            self.observer.on_made(room)
        return room

    def _on_empty(self, name: str) -> None:
        settings = self._rooms[name].settings
        if settings.departure_timeout and not self._closed:
            self._expiries[name] = self.now() + settings.departure_timeout
            if settings is _BY_PARTICIPANTS:
                self._leftovers[name] = None
        else:
            self.forget(name)

    def _sweep(self) -> None:
        """Remove what has expired, but not with each join: that takes time for every room (B10)."""
        now = self.now()
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEEP_INTERVAL
            self._forget_expired()

    def _forget_expired(self) -> None:
        now = self.now()
        for room in tuple(self._rooms.values()):
            room.expire_detached(now)
        if self._expiries:
            for name in [name for name, expiry in self._expiries.items() if expiry <= now]:
                self.forget(name)
