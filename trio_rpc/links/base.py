"""The contract of a link, for its users and its implementations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from enum import IntEnum
from functools import partial
from typing import Final, NamedTuple, Protocol

from livekit.protocol import rtc

from ..protocol.retained import RetainedPackets
from .media import MediaLink


class Channel(IntEnum):
    """The kind of message in a frame, and how reliably it is delivered."""

    SIGNAL = 1
    RELIABLE = 2
    LOSSY = 3
    RECEIPT = 4


class Frame(NamedTuple):
    """One serialised message on one channel.

    `body` is a `SignalRequest` (to the server) or `SignalResponse` (from it) on the signal channel,
    a receipt (`protocol.receipts`) on the receipt channel, and a `DataPacket` on the others.
    """

    channel: Channel
    body: bytes


#: The same as `Frame(*pair)` for a pair of a channel and a body, without a function in Python:
#: frames are made for every packet, several times.
new_frame: Final[Callable[[tuple[Channel, bytes]], Frame]] = partial(tuple.__new__, Frame)


class LinkClosedError(Exception):
    """The link has ended; the text says why, for a person."""


class SignallingLostError(Exception):
    """Signalling is lost for the moment, and packets are not; the link lives on (L12).

    A `ReconnectResponse` is received when there is signalling again.
    """


class LinkFullError(Exception):
    """More is queued on the link than it may hold; nothing of this frame was taken."""


class Link(Protocol):
    """The connection of one participant to a room.

    Attributes:
        can_resume: Whether another link may resume the session (L3); otherwise, it is joined again.
        roster_delay: Seconds by which the server may announce participants late; 0 for none.
        retained: Where reliable packets are retained once they are sent (L4), if another link may
            have to send them again; None unless set. Those that are queued when the link ends are
            retained too, and so are those that follow, in place of a `LinkClosedError`. A link that
            can't be resumed retains nothing, and drops what follows.
    """

    can_resume: bool
    roster_delay: float
    retained: RetainedPackets | None

    @property
    def media(self) -> MediaLink | None:
        """The audio and video of the link; None where it carries data alone."""
        ...

    def send_nowait(self, frame: Frame, *, flush_follows: bool = False) -> None:
        """Queue a frame; it leaves with everything else that is queued in the same tick.

        Of many frames, the first few leave at once, where that is possible.

        Args:
            flush_follows: Whether `flush_nowait` is called in this tick in any case, so that no
                other task needs a turn to send the frame.

        Raises:
            LinkFullError: the queue is at its limit. A lossy frame is dropped instead.
            LinkClosedError: the link has ended, and `retained` is None.
        """
        ...

    def resend_nowait(self, frames: Iterable[Frame]) -> None:
        """Queue frames of an earlier link, beyond any limit: they are held in any case (L4).

        Raises:
            LinkClosedError: the link has ended.
        """
        ...

    def flush_nowait(self) -> None:
        """Send what is queued at once, if nothing is in flight and nothing blocks.

        For when nothing else will be queued in this tick, which it would leave with otherwise.
        """
        ...

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait to be sent, without those in flight."""
        ...

    async def wait_writable(self) -> None:
        """Wait until part of the queue was sent, or the link has ended."""
        ...

    async def wait_sent(self) -> None:
        """Wait until everything that is queued was sent, or the link has ended."""
        ...

    async def receive(self) -> list[Frame]:
        """Receive the next frames of a message, at least one and at most some dozens.

        Other tasks have their turn now and then, however much has come already (B7).

        Raises:
            LinkClosedError: the link has ended, and everything before that was received.
            SignallingLostError: signalling is lost; the link lives on.
            ValueError: the other side sent a message that holds no frames; the link lives on.
        """
        ...

    def discard_queued(self) -> None:
        """Discard the queue, without what is in flight, to make room for a final response.

        Its packets are retained, if any are.
        """
        ...

    async def aclose(self, reason: str = "") -> None:
        """Send what is queued, for as long as that is allowed to take, and end the link.

        Args:
            reason: The close reason for the other side, where the link can send one; cut to 120
                bytes.
        """
        ...


class ServedLink(Link, Protocol):
    """A link on the server, which checks whether the participant reads.

    Attributes:
        notices_silence: Whether the link ends by itself once the other side is gone, though that
            sends nothing for as long as it likes.
    """

    notices_silence: bool

    def has_progressed(self) -> bool:
        """Return whether the other side has taken any bytes since the last call.

        Also true when nothing waits for it.
        """
        ...


class MessageStream(Protocol):
    """A carrier of messages of bytes, one after another: a WebSocket, a pair of channels, …

    Attributes:
        can_send_nowait: Whether `send_message_nowait` may ever send.
    """

    can_send_nowait: bool

    @property
    def unsent_bytes(self) -> int:
        """Bytes that were sent and not taken yet; 0 where that is not known."""
        ...

    def send_message_nowait(self, message: bytes) -> bool:
        """Send a message if that is possible without waiting; no other may be in flight.

        Returns:
            Whether the message was sent; if not, none of it was.

        Raises:
            LinkClosedError: the stream has ended.
        """
        ...

    async def send_message(self, message: bytes) -> None:
        """Send one message.

        Raises:
            LinkClosedError: the stream has ended.
        """
        ...

    async def receive_message(self) -> bytes:
        """Receive the next message.

        Raises:
            LinkClosedError: the stream has ended.
        """
        ...

    async def aclose(self, reason: str) -> None:
        """End the stream with a close reason for the other side. Raises on cancellation only."""
        ...


class Connector(Protocol):
    """A way to open links to a server."""

    def open_link(self, token: str, request: rtc.JoinRequest) -> AbstractAsyncContextManager[Link]:
        """Return a block with an open link, which is closed at its end.

        Args:
            token: The access token to join with.
            request: The request to join in LiveKit's signalling, which describes ourselves.

        Raises:
            ConnectError: no server answered, or it refused.
        """
        ...
