"""What a peer in its thread has to say to the stream of its participant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from attrs import frozen
from livekit.protocol import rtc

from ..links import Frame

#: What a received frame counts beyond its body: a million empty ones are not nothing.
FRAME_COST: Final = 256


@frozen
class Described:
    """An offer or an answer is ready, for the client to have.

    Attributes:
        kind: `"offer"` or `"answer"`.
        id: The id of the offer, or of the one that is answered.
    """

    kind: str
    sdp: str
    id: int

    def to_signal(self) -> rtc.SignalResponse:
        """The same as the client is told it."""
        description = rtc.SessionDescription(type=self.kind, sdp=self.sdp, id=self.id)
        if self.kind == "answer":
            return rtc.SignalResponse(answer=description)
        return rtc.SignalResponse(offer=description)


@frozen
class Opened:
    """The reliable channel to the client is open."""


@frozen
class Taken:
    """The client's connection has taken some of what it was given.

    Attributes:
        size: How many bytes more than at the last time.
    """

    size: int


@frozen
class Failed:
    """The peer has ended, for a reason that a person can read."""

    reason: str


Report: TypeAlias = Frame | Described | Opened | Taken | Failed
#: Takes a report, in the thread of the peers.
SendReport: TypeAlias = Callable[[Report], None]
