"""Connections that have not said yet who they are: a bounded number of them (rule B11).

With one too many from an address, the one of that address that has waited longest is rejected. With
one too many in all, it is the oldest of the address that has most. So connections that say nothing,
however many, keep out nobody who speaks.

One that was rejected is told why, which it has to read. As many as may wait may be at that as well;
with one more, the one that has been at it for longest is not waited for any longer.
"""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

from attrs import define, field

from ..concurrency import Backend, CancelScope

#: The first half of an IPv6 address is the network's; all of the other half is its owner's to use.
_IPV6_NETWORK_BYTES: Final = 8


@define(eq=False)
class Handshake:
    """One connection that is waited for.

    Attributes:
        address: Where it comes from, see `address_of`.
        rejection: Why it was rejected; empty while it was not.
    """

    address: str | None
    scope: CancelScope
    rejection: str = field(default="", init=False)

    def reject(self, reason: str) -> None:
        """Wait for it no longer."""
        self.rejection = reason
        self.scope.cancel()


@define(eq=False)
class PendingHandshakes:
    """The handshakes in flight of a listener.

    Args:
        max_pending: How many there may be.
        max_per_address: How many may come from one address, where they have one.
    """

    max_pending: int
    max_per_address: int
    _backend: Backend
    _pending: _Queue = field(init=False)
    _closing: _Queue = field(init=False)
    _turn: AbstractAsyncContextManager[Any] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._pending = _Queue(self.max_pending, self.max_per_address, self._backend)
        self._closing = _Queue(self.max_pending, self.max_per_address, self._backend)
        self._turn = self._backend.lock()

    async def take_turn(self) -> None:
        """Wait until it is the turn of a connection that has said what it wants (B7).

        There is one in each pass of the event loop, so everybody who is in a room waits for no more
        than that, however many connections come together.
        """
        async with self._turn:
            pass

    def open(self, address: str | None, timeout: float) -> AbstractContextManager[Handshake]:
        """A block in which a connection has not said yet who it is.

        The block is cancelled when the handshake takes too long, or is rejected: the handshake's
        `rejection` tells which, to what follows the block.

        Args:
            address: Where the connection comes from, see `address_of`.
            timeout: Seconds that it may take.
        """
        return self._pending.enter(address, timeout)

    def closing(self, address: str | None, timeout: float) -> AbstractContextManager[Handshake]:
        """A block in which a connection reads the last that it is told; otherwise as `open`."""
        return self._closing.enter(address, timeout)

    def reject_all(self, reason: str) -> None:
        """Reject everybody that is waited for."""
        self._pending.reject_all(reason)


@define(eq=False)
class _Queue:
    _max_length: int
    _max_per_address: int
    _backend: Backend
    _length: int = field(default=0, init=False)
    # Of an address, the one that came first is first
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
    """Return where a connection comes from: an IPv4 address, or the network of an IPv6 address.

    None for a socket that has no addresses, as one in the file system.

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
