"""The abilities of servers, of peers and of ourselves (rules N1 to N3)."""

from __future__ import annotations

import re
from collections.abc import Container
from functools import lru_cache
from typing import Final

from attrs import frozen
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


@lru_cache(maxsize=16)
def server_carries_rpc(server_version: str) -> bool:
    """Whether a server of this version carries RPC; one that can't be parsed counts as new."""
    match = _VERSION.match(server_version)
    return match is None or tuple(map(int, match.groups())) >= _FIRST_SERVER_WITH_RPC


@frozen
class Abilities:
    """The abilities of a peer, read once from what it announces: every call asks for them.

    Attributes:
        speaks_rpc_v2: Takes requests as data streams.
        takes_either: Being of this library, takes requests as packets, and either answer (N4).
        takes_inline: Takes a stream's content in its header.
        inflates: Takes compressed streams.
        resumes: Comes back after a lost connection, and remembers outcomes (L6 to L8).
        takes_cancellation: Understands the cancellation of calls.
    """

    speaks_rpc_v2: bool
    takes_either: bool
    takes_inline: bool
    inflates: bool
    resumes: bool
    takes_cancellation: bool

    @classmethod
    def of(cls, client_protocol: int, capabilities: Container[int]) -> Abilities:
        """Return the abilities of a peer that announces these numbers."""
        return cls(
            speaks_rpc_v2=client_protocol >= _RPC_V2,
            takes_either=CAN_CANCEL in capabilities,
            takes_inline=client_protocol >= _INLINE_STREAMS,
            inflates=CAN_INFLATE in capabilities,
            resumes=CAN_RESUME in capabilities,
            takes_cancellation=CAN_CANCEL in capabilities,
        )


#: The abilities of a peer that announces none.
NO_ABILITIES: Final = Abilities.of(0, ())
