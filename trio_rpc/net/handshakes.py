"""Pending handshakes: a bounded number of connections that are not identified yet (rule B11).

With one too many from an address, the oldest of that address is rejected. With one too many in all,
the oldest of the address that has most is rejected. So silent connections, however many, keep out
no others.

A rejected connection is sent the reason, which it has to read. The number of connections that read
their reason has the same limit; with one more, the one that has been reading for longest is closed.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from ipaddress import IPv6Address, ip_address
from typing import Final

from attrs import define, field

from ..concurrency import Backend, CancelScope

#: The first half of an IPv6 address is the network; its owner may use all of the other half.
_IPV6_NETWORK_BYTES: Final = 8
#: The pause after a login, as a multiple of what it took so far. More of it follows in later passes
#: of the event loop, so this leaves about half of the time to others.
_PAUSE: Final = 2
#: The longest such pause, in seconds: clients that come back together must not wait long.
_LONGEST_PAUSE: Final = 0.01
#: Seconds after which a login is not part of a storm, and needs no pause before it.
_SPACING: Final = 0.05


@define(eq=False)
class Handshake:
    """One connection that is not identified yet.

    Attributes:
        address: The address that it comes from; see `address_of`.
        rejection: The reason of its rejection; empty while it is not rejected.
    """

    address: str | None
    scope: CancelScope
    rejection: str = field(default="", init=False)

    def reject(self, reason: str) -> None:
        """Cancel the handshake, and record the reason."""
        self.rejection = reason
        self.scope.cancel()


@define(eq=False)
class PendingHandshakes:
    """The handshakes in flight of a listener.

    Args:
        max_pending: The most that there may be.
        max_per_address: The most that may come from one address, where they have one.
    """

    max_pending: int
    max_per_address: int
    _backend: Backend
    _pending: _Queue = field(init=False)
    _closing: _Queue = field(init=False)
    _turn: AbstractAsyncContextManager[None] = field(init=False)
    _last_login_at: float = field(default=-math.inf, init=False)

    def __attrs_post_init__(self) -> None:
        self._pending = _Queue(self.max_pending, self.max_per_address, self._backend)
        self._closing = _Queue(self.max_pending, self.max_per_address, self._backend)
        self._turn = self._backend.lock()

    async def take_turn(self) -> None:
        """Wait for the turn of a connection that is identified (B7).

        Each pass of the event loop takes one, so the participants of rooms wait for no more than
        that, however many connections come together.
        """
        async with self._turn:
            pass

    async def take_login_turn(self) -> None:
        """Wait for the turn of a connection that asks to join a room (B11).

        After each login is a pause in proportion to it, so that a storm of logins leaves about half
        of the event loop's time to the participants of rooms.
        """
        clock = self._backend.current_time
        async with self._turn:
            elapsed = clock() - self._last_login_at
            if elapsed < _SPACING:
                await self._backend.sleep(min(_PAUSE * elapsed, _LONGEST_PAUSE))
            self._last_login_at = clock()

    def open(self, address: str | None, timeout: float) -> AbstractContextManager[Handshake]:
        """Return a block in which a connection identifies itself.

        The block is cancelled when the handshake takes too long, or is rejected; after the block,
        the handshake's `rejection` tells which.

        Args:
            address: The address of the peer, see `address_of`.
            timeout: The seconds that the handshake may take.
        """
        return self._pending.enter(address, timeout)

    def closing(self, address: str | None, timeout: float) -> AbstractContextManager[Handshake]:
        """Return a block in which a connection reads our final response; otherwise as `open`."""
        return self._closing.enter(address, timeout)

    def reject_all(self, reason: str) -> None:
        """Reject all pending handshakes."""
        self._pending.reject_all(reason)


@define(eq=False)
class _Queue:
    _max_length: int
    _max_per_address: int
    _backend: Backend
    _length: int = field(default=0, init=False)
    # For each address, the oldest is first
    _handshakes: dict[str | None, dict[Handshake, None]] = field(
        factory=dict[str | None, dict[Handshake, None]], init=False
    )

    @contextmanager
    def enter(self, address: str | None, timeout: float) -> Generator[Handshake]:
        self._make_space(address)
        deadline = self._backend.current_time() + timeout
        scope = self._backend.cancel_scope(deadline=deadline)
        handshake = Handshake(address, scope)
        self._handshakes.setdefault(address, {})[handshake] = None
        self._length += 1
        try:
            with scope:
                yield handshake
        finally:
            self._remove(handshake)

    def reject_all(self, reason: str) -> None:
        for handshakes in tuple(self._handshakes.values()):
            for handshake in tuple(handshakes):
                handshake.reject(reason)

    def _make_space(self, address: str | None) -> None:
        own = self._handshakes.get(address, ())
        if address is not None and len(own) >= self._max_per_address:
            count = f"{self._max_per_address} others of your address"
            self._reject_oldest(self._handshakes[address], count)
        elif self._length >= self._max_length:
            most = max(self._handshakes.values(), key=len)
            self._reject_oldest(most, f"{self._max_length} others")

    def _reject_oldest(self, handshakes: dict[Handshake, None], count: str) -> None:
        oldest = next(iter(handshakes))
        self._remove(oldest)
        oldest.reject(f"{count} wait to join: try again")

    def _remove(self, handshake: Handshake) -> None:
        handshakes = self._handshakes.get(handshake.address, {})
        if handshake in handshakes:
            del handshakes[handshake]
            self._length -= 1
            if not handshakes:
                del self._handshakes[handshake.address]


def address_of(connection: socket.socket) -> str | None:
    """Return the origin of a connection: an IPv4 address, or the network of an IPv6 address.

    None for a socket without addresses, such as one in the file system.

    Raises:
        OSError: the connection is lost.
    """
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    address = ip_address(connection.getpeername()[0])
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return address.packed[:_IPV6_NETWORK_BYTES].hex(":", 2)
