"""The reports of a peer in its thread to its stream in the program's event loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Final, TypeAlias

from attrs import frozen
from livekit.protocol import rtc

from ..links import Frame
from ..participant.tracks import Receiver

#: The bytes that a received frame counts beyond its body, so that empty ones count too.
FRAME_COST: Final = 256


@frozen
class Described:
    """The report of an offer or an answer of ours.

    Attributes:
        kind: `"offer"` or `"answer"`.
        id: The id of the offer, or of the answered one.
    """

    kind: str
    sdp: str
    id: int

    @property
    def description(self) -> rtc.SessionDescription:
        """The content of the signalling message for the other side."""
        return rtc.SessionDescription(type=self.kind, sdp=self.sdp, id=self.id)


@frozen
class Opened:
    """The report that the reliable channel to the other side is open."""


@frozen
class Taken:
    """The report that the connection has taken sent bytes.

    Attributes:
        size: The bytes taken since the last report.
    """

    size: int


@frozen
class Drained:
    """The report that everything that was sent has arrived, as far as it will."""


@frozen
class Received:
    """The report of the tracks that come in.

    Attributes:
        receivers: Their receivers, by SID.
    """

    receivers: Mapping[str, Receiver]


@frozen
class Rejected:
    """The report of the tracks of ours whose codecs the other side does not take.

    Attributes:
        cids: Our ids of them.
    """

    cids: Set[str]


@frozen
class Failed:
    """The report that the peer has ended, with a reason for a person."""

    reason: str


Report: TypeAlias = Frame | Described | Opened | Taken | Drained | Received | Rejected | Failed
#: Takes a report, in the thread of the peers.
SendReport: TypeAlias = Callable[[Report], None]
