"""The pairs of callers and callees, on each server."""

from __future__ import annotations

from itertools import permutations
from typing import Final, Literal

from .programs import GO, KINDS, OLD, OURS

ServerName = Literal["trio-rpc", "livekit-server", "LiveKitLikeServer"]
#: The servers that behave as LiveKit's: itself, and ours in its form for tests.
LIVEKIT_LIKE: Final[tuple[ServerName, ...]] = ("livekit-server", "LiveKitLikeServer")
#: A server, and the kinds of caller and callee on it.
Case = tuple[ServerName, str, str]

_CURRENT: Final = [kind for kind in KINDS if kind not in (OLD, GO)]
#: Those who meet the kinds that don't meet all.
_MET: Final = ("trio", "python", "browser")
_RARE: Final = (OLD, GO)
#: LiveKit's own on its own server, to compare with.
_COMPARED: Final = [kind for kind in KINDS if kind not in OURS]

_ON_OURS: Final = [
    *((caller, callee) for caller in _CURRENT for callee in _CURRENT),
    *((caller, callee) for caller in _RARE for callee in _MET),
    *((caller, callee) for callee in _RARE for caller in _MET),
    (GO, GO),
]
_ON_LIVEKIT: Final = [
    *((caller, callee) for caller in KINDS for callee in KINDS if OURS & {caller, callee}),
    *((caller, "python") for caller in _COMPARED),
    *(("python", callee) for callee in _COMPARED if callee != "python"),
]

#: Those on ours that behaves like it.
_COMPARED_WITH_LIVEKIT: Final = ("trio", "asyncio", "python")
_ON_LIVEKIT_LIKE: Final = [
    (caller, callee) for caller in _COMPARED_WITH_LIVEKIT for callee in _COMPARED_WITH_LIVEKIT
]

#: All that are tried out, in the order of the tables of results.
CASES: Final[list[Case]] = [
    *(("trio-rpc", *pair) for pair in _ON_OURS),
    *(("livekit-server", *pair) for pair in _ON_LIVEKIT),
    *(("LiveKitLikeServer", *pair) for pair in _ON_LIVEKIT_LIKE),
]
#: The publishers and subscribers of audio and video, likewise.
MEDIA_CASES: Final[list[Case]] = [
    ("livekit-server", *pair)
    for pair in permutations(("trio", "asyncio", "python", "browser"), 2)
    if OURS.intersection(pair)
]
#: The servers that have a table each.
SERVERS: Final[tuple[ServerName, ...]] = ("trio-rpc", "livekit-server")
