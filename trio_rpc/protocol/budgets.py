"""The bytes held on behalf of peers, counted against the peer that causes them (rule B4).

Everything kept on behalf of a peer is charged to that peer before it is kept, and refunded when it
is dropped. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import Factory, define

#: Bytes that one peer may make us hold, unless set otherwise.
DEFAULT_MAX_PEER_BYTES: Final = 32 * 1024 * 1024
#: Bytes that all peers together may make us hold, unless set otherwise.
DEFAULT_MAX_PEERS_BYTES: Final = 256 * 1024 * 1024


def allocated_bytes(size: int) -> int:
    """Return the bytes that objects of `size` bytes take, with what an allocator wastes of them.

    An eighth more is what growing buffers allocate, and a little above what was measured under
    glibc for pieces that come and go (a fifteenth).
    """
    return size + size // 8


class BudgetExceededError(Exception):
    """A charge that would exceed a limit, which the text names; nothing was charged."""


@define(eq=False)
class Budget:
    """The bytes held on behalf of peers.

    Args:
        max_peer_bytes: The limit for one peer.
        max_peers_bytes: The limit for all peers together.

    Attributes:
        held: The bytes held for all peers.
        make_room: Called with a peer and a number of bytes before a charge is refused for so many
            too much: something that is kept for the peer, but not needed, may be refunded then.
    """

    max_peer_bytes: int = DEFAULT_MAX_PEER_BYTES
    max_peers_bytes: int = DEFAULT_MAX_PEERS_BYTES
    held: int = 0
    make_room: Callable[[str, int], None] | None = None
    # Only peers that hold something have an entry, since the names of peers are unbounded.
    _held_by: dict[str, int] = Factory(dict[str, int])

    def held_by(self, peer: str) -> int:
        """Return the bytes held for a peer."""
        return self._held_by.get(peer, 0)

    def charge(self, peer: str, size: int) -> None:
        """Count `size` bytes more for a peer; fewer if it is negative, and some remain.

        Raises:
            BudgetExceededError: the peer, or all peers together, would be over the limit.
        """
        held = self._held_by.get(peer, 0)
        if held + size > self.max_peer_bytes or self.held + size > self.max_peers_bytes:
            held = self._check_full(peer, size)
        self._held_by[peer] = held + size
        self.held += size

    def _check_full(self, peer: str, size: int) -> int:
        """Make room for a charge, if possible; return the bytes that are held for the peer then.

        Raises:
            BudgetExceededError: there is no room.
        """
        held = self._held_by.get(peer, 0)
        if self.make_room is not None:
            too_much = held + size - self.max_peer_bytes, self.held + size - self.max_peers_bytes
            self.make_room(peer, max(too_much))
            held = self._held_by.get(peer, 0)
        if held + size > self.max_peer_bytes:
            raise BudgetExceededError(
                f"{held:,} bytes are held for this participant: {size:,} more would exceed the "
                f"limit of {self.max_peer_bytes:,} (max_peer_bytes)"
            )
        if self.held + size > self.max_peers_bytes:
            raise BudgetExceededError(
                f"{self.held:,} bytes are held for all participants: {size:,} more would exceed "
                f"the limit of {self.max_peers_bytes:,} (max_peers_bytes)"
            )
        return held

    def refund(self, peer: str, size: int) -> None:
        """Count `size` bytes less, which were charged to the peer before."""
        left = self._held_by[peer] - size
        if left:
            self._held_by[peer] = left
        else:
            del self._held_by[peer]
        self.held -= size
