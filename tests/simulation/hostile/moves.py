"""The table of all moves. A new one goes into the table of its module."""

from __future__ import annotations

from typing import Final

from . import (
    moves_floods,
    moves_ids,
    moves_malformed,
    moves_presence,
    moves_requests,
    moves_streams,
)
from .play import Move

MOVES: Final[dict[str, Move]] = {
    **moves_ids.MOVES,
    **moves_malformed.MOVES,
    **moves_floods.MOVES,
    **moves_streams.MOVES,
    **moves_requests.MOVES,
    **moves_presence.MOVES,
}
#: Moves that cost much, and are played less often.
HEAVY: Final = (
    moves_floods.HEAVY | moves_streams.HEAVY | moves_requests.HEAVY | moves_presence.HEAVY
)
#: Moves that are played once in a run at the most.
RARE: Final = moves_presence.RARE
#: Moves that take many seconds.
LONG: Final = moves_presence.LONG
