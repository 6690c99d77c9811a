"""The reports of a peer in its thread to the stream of its participant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from attrs import frozen
from livekit.protocol import rtc

from ..links import Frame

#: The bytes that a received frame counts beyond its body, so that empty ones count too.
FRAME_COST: Final = 256


@frozen
class Described:
    """The report of an offer or an answer for the client.

    Attributes:
        kind: `"offer"` or `"answer"`.
        id: The id of the offer, or of the answered one.
    """

    kind: str
    sdp: str
    id: int

    def to_signal(self) -> rtc.SignalResponse:
        """Return the signalling message for the client."""
        description = rtc.SessionDescription(type=self.kind, sdp=self.sdp, id=self.id)
        if self.kind == "answer":
            return rtc.SignalResponse(answer=description)
        return rtc.SignalResponse(offer=description)


@frozen
class Opened:
    """The report that the reliable channel to the client is open."""


@frozen
class Taken:
    """The report that the client's connection has taken sent bytes.

    Attributes:
        size: The bytes taken since the last report.
    """

    size: int


@frozen
class Failed:
    """The report that the peer has ended, with a reason for a person."""

    reason: str


Report: TypeAlias = Frame | Described | Opened | Taken | Failed
#: Takes a report, in the thread of the peers.
SendReport: TypeAlias = Callable[[Report], None]
