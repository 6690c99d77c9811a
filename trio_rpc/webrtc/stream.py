"""The peer connections of one participant, as a stream of messages in the server's event loop.

A message is a run of frames, as on every other link: what a peer in its thread sends in its
channels, or has received from them. What goes out waits here until there is a channel, and while
the client takes too little; what comes in opens the client's window again when it is read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from livekit.protocol import rtc

from ..concurrency import Backend
from ..links import Channel, Frame, LinkClosedError, LinkFullError
from ..links.framed import SLICE_FRAMES
from ..links.frames import encode_frames
from ..logs import peer_logger
from .reports import FRAME_COST, Described, Failed, Opened, Report, Taken
from .thread import PeerThread

if TYPE_CHECKING:
    from .peer import Peer

logger = peer_logger(__name__)

#: What a client's connection may have been given and not have taken.
_WINDOW_BYTES: Final = 256 * 1024
#: How many reports are read before others have their turn (B7).
_REPORTS_A_TURN: Final = 256
#: How much is read before the peer hears of it: telling costs more than small packets do.
_REPORTED_BYTES: Final = 64 * 1024


class PeerStream:
    """A `MessageStream` into the data channels of a client, and out of them.

    Args:
        thread: Where the peer connections run; it has been started.
        tell: Has the client told of an offer or an answer of ours.
    """

    can_send_nowait = True

    def __init__(
        self, backend: Backend, thread: PeerThread, tell: Callable[[rtc.SignalResponse], None]
    ) -> None:
        self._backend = backend
        self._thread = thread
        self._tell = tell
        self._peer: Peer | None = None
        # What the peer reports, from its thread
        self._reports: deque[Report] = deque()
        self._are_read = True
        # What came and was not received, and what was received that the peer has not heard of
        self._incoming: deque[Frame | ValueError] = deque()
        self._read_bytes = 0
        # What the peer was given, and has not reported as taken
        self._untaken = 0
        #: Whether packets reach the client.
        self.is_open = False
        self._ended_because: str | None = None
        self._changed = backend.event()

    def start(
        self, *, subscriber_primary: bool, offer: rtc.SessionDescription | None = None
    ) -> None:
        """Begin to connect; once, just before the client is told that it has joined.

        Args:
            subscriber_primary: Whether it wants another connection for what it gets, which we
                offer.
            offer: Its own offer, where that has come.

        Raises:
            LinkClosedError: WebRTC is not to be had any more.
        """
        self._peer = self._thread.open_peer(self._report, subscriber_primary=subscriber_primary)
        if offer is not None:
            self.describe(rtc.SignalRequest(offer=offer))

    async def wait_open(self) -> None:
        """Wait until packets reach the client.

        Raises:
            LinkClosedError: they never will.
        """
        while not self.is_open:
            if self._ended_because is not None:
                raise LinkClosedError(self._ended_because)
            await self._changed.wait()

    # What the client says by other ways

    def describe(self, request: rtc.SignalRequest) -> None:
        """Hand on an offer or an answer of the client's."""
        assert self._peer is not None
        self._call(self._peer.describe, request)

    def put(self, message: Frame | ValueError) -> None:
        """Have something received as if it had come by a data channel."""
        self._incoming.append(message)
        self._notify()

    @property
    def unread(self) -> int:
        """How many frames wait to be received; none that anybody would, once it has ended."""
        return len(self._incoming) if self._ended_because is None else 0

    async def wait_changed(self) -> None:
        """Wait until something was received, taken, or ended."""
        if self._ended_because is None:
            await self._changed.wait()

    # MessageStream

    @property
    def unsent_bytes(self) -> int:
        return self._untaken

    def send_message_nowait(self, message: bytes) -> bool:
        if self._ended_because is not None:
            raise LinkClosedError(self._ended_because)
        if not self.is_open or self._untaken >= _WINDOW_BYTES:
            return False
        self._untaken += len(message)
        assert self._peer is not None
        self._call(self._peer.send, message)
        return True

    async def send_message(self, message: bytes) -> None:
        while not self.send_message_nowait(message):
            await self._changed.wait()

    async def receive_message(self) -> bytes:
        while not self._incoming:
            if self._ended_because is not None:
                raise LinkClosedError(self._ended_because)
            await self._changed.wait()
        first = self._incoming.popleft()
        if isinstance(first, ValueError):
            raise first
        frames = [first]
        while (
            len(frames) < SLICE_FRAMES
            and self._incoming
            and isinstance(following := self._incoming[0], Frame)
        ):
            frames.append(following)
            self._incoming.popleft()
        self._on_read(frames)
        return encode_frames(frames)

    async def aclose(self, reason: str) -> None:
        self.end(reason or "the stream was closed here")

    def _on_read(self, frames: list[Frame]) -> None:
        packets = [frame for frame in frames if frame.channel is not Channel.SIGNAL]
        self._read_bytes += sum(len(packet.body) + FRAME_COST for packet in packets)
        if self._read_bytes >= _REPORTED_BYTES and self._peer is not None:
            self._call(self._peer.on_read, self._read_bytes)
            self._read_bytes = 0
        self._notify()

    def _call(self, function: Callable[..., None], argument: object) -> None:
        try:
            self._thread.call(function, argument)
        except LinkClosedError as error:
            self.end(str(error))

    # From the peer

    def _report(self, report: Report) -> None:
        """Called in the thread: many reports cost one call into the host."""
        self._reports.append(report)
        if self._are_read:
            self._are_read = False
            self._thread.run_in_host(self._read_reports)

    def _read_reports(self) -> None:
        # First, or one that is made right now would be read by nobody.
        self._are_read = True
        for _ in range(_REPORTS_A_TURN):
            if not self._reports:
                break
            match self._reports.popleft():
                case Frame() as frame:
                    if self._ended_because is None:
                        self._incoming.append(frame)
                case Taken(size):
                    self._untaken -= size
                case Opened():
                    self.is_open = True
                case Described() as described:
                    # Who does not take it, or has gone, is noticed by others.
                    with suppress(LinkClosedError, LinkFullError):
                        self._tell(described.to_signal())
                case Failed(reason):
                    self.end(reason)
        if self._reports and self._are_read:
            # The others have their turn before.
            self._are_read = False
            self._thread.run_in_host(self._read_reports)
        self._notify()

    # The end

    def end(self, reason: str) -> None:
        """End for a reason that the client may be told; what has come can still be received."""
        if self._ended_because is None:
            self._ended_because = reason
            if self._peer is not None:
                with suppress(LinkClosedError):
                    self._thread.call(self._peer.close)
            self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = self._backend.event()
