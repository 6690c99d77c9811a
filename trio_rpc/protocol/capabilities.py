"""The abilities of servers, of peers and of ourselves (rules N1 to N3)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Protocol

from livekit.protocol import models

#: The client protocol that we announce: RPC v2 over data streams, and streams with inline content.
CLIENT_PROTOCOL: Final = 2
#: The capabilities that we announce: streams compressed as deflate-raw, and cancelling invocations.
#: The latter is ours alone (docs/protocol.md); LiveKit's numbers are small, and its SDKs ignore
#: those that they don't know.
CAN_INFLATE: Final[int] = models.ClientInfo.CAP_COMPRESSION_DEFLATE_RAW
CAN_CANCEL: Final = 7201
#: The capability of a participant that comes back after a lost connection, and remembers the
#: outcomes of requests (L6 and L7); ours alone too.
CAN_RESUME: Final = 7202
#: The capability of a participant whose changes of name and metadata say both in full, so that an
#: empty text clears what it stands for (V7); ours alone too.
CLEARS_EMPTY: Final = 7203
CAPABILITIES: Final = (CAN_INFLATE, CAN_CANCEL, CLEARS_EMPTY)

_RPC_V2: Final = 1
_INLINE_STREAMS: Final = 2
_FIRST_SERVER_WITH_RPC: Final = (1, 8, 0)
_VERSION: Final = re.compile(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})")


class Peer(Protocol):
    """The abilities that a participant announces, as `ParticipantInfo` has them."""

    @property
    def client_protocol(self) -> int: ...

    @property
    def capabilities(self) -> frozenset[int]: ...


@lru_cache(maxsize=16)
def server_carries_rpc(server_version: str) -> bool:
    """Whether a server of this version carries RPC; one that can't be parsed counts as new."""
    match = _VERSION.match(server_version)
    return match is None or tuple(map(int, match.groups())) >= _FIRST_SERVER_WITH_RPC


def speaks_rpc_v2(peer: Peer) -> bool:
    """Whether a request to `peer` goes as a data stream."""
    return peer.client_protocol >= _RPC_V2


def takes_either(peer: Peer) -> bool:
    """Whether `peer`, being of this library, takes requests as packets, and either answer (N4)."""
    return CAN_CANCEL in peer.capabilities


def takes_inline(peer: Peer) -> bool:
    """Whether `peer` takes a stream's content in its header."""
    return peer.client_protocol >= _INLINE_STREAMS


def inflates(peer: Peer) -> bool:
    """Whether `peer` takes compressed streams."""
    return CAN_INFLATE in peer.capabilities


def resumes(peer: Peer) -> bool:
    """Whether `peer` comes back after a lost connection, and remembers outcomes (L6 to L8)."""
    return CAN_RESUME in peer.capabilities


def takes_cancellation(peer: Peer) -> bool:
    """Whether `peer` understands the cancellation of calls."""
    return CAN_CANCEL in peer.capabilities
