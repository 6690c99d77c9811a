"""The peer connections to one other side, as a stream of messages in the program's event loop.

A message is a run of frames, as on every other link: packets that a peer in its thread sends on its
channels, or has received from them. Outgoing messages wait here until there is a channel, and while
the other side reads too slowly; incoming ones widen its window again when they are read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from ..concurrency import Backend, Notifier
from ..links import Channel, Frame, LinkClosedError, LinkFullError
from ..links.framed import SLICE_FRAMES
from ..links.frames import encode_frames
from ..participant.tracks import Receiver
from ..protocol.logs import peer_logger
from .reports import (
    FRAME_COST,
    Described,
    Drained,
    Failed,
    Opened,
    Received,
    Rejected,
    Report,
    SendReport,
    Taken,
)
from .thread import PeerThread

if TYPE_CHECKING:
    from .peer import Description, Peer

    P = TypeVar("P", bound=Peer)

logger = peer_logger(__name__)

#: The bytes that may be given to a connection before it has taken them.
_WINDOW_BYTES: Final = 256 * 1024
#: The reports that are read before other tasks have their turn (B7).
_REPORTS_A_TURN: Final = 256
#: The bytes that are read before the peer is told, which costs more than small packets do.
_REPORTED_BYTES: Final = 64 * 1024


class PeerStream:
    """A `MessageStream` into data channels, and out of them.

    Args:
        thread: The thread of the peer connections, which has been started.
        tell: Sends the other side an offer or an answer of ours.

    Attributes:
        is_open: Whether packets reach the other side.
        receivers: The receivers of the tracks that come in, by SID.
        rejected: Our ids of the tracks of ours whose codecs the other side does not take.
        media_changed: Notified of each change in both.
    """

    can_send_nowait = True

    def __init__(
        self, backend: Backend, thread: PeerThread, tell: Callable[[Described], None]
    ) -> None:
        self._backend = backend
        self._thread = thread
        self._tell = tell
        self._peer: Peer | None = None
        # The reports of the peer, from its thread
        self._reports: deque[Report] = deque()
        self._are_read = True
        # Messages that were not received yet, and received bytes that the peer was not told of
        self._incoming: deque[Frame | Exception] = deque()
        self._read_bytes = 0
        # Bytes that were given to the peer, and not reported as taken
        self._untaken = 0
        self.is_open = False
        self.receivers: Mapping[str, Receiver] = {}
        self.rejected: Set[str] = frozenset()
        self.media_changed = Notifier(backend)
        # Whether a report that everything has arrived is outstanding
        self._is_draining = False
        self._ended_because: str | None = None
        self._changed = backend.event()

    def start(self, make_peer: Callable[[SendReport], P]) -> P:
        """Begin to connect, and return the peer; called once.

        Args:
            make_peer: Returns the peer, which is called with each report.

        Raises:
            LinkClosedError: WebRTC is not available any more.
        """
        peer = self._peer = self._thread.open_peer(make_peer, self._report)
        return peer

    async def wait_open(self) -> None:
        """Wait until packets reach the other side.

        Raises:
            LinkClosedError: they never will.
        """
        while not self.is_open:
            if self._ended_because is not None:
                raise LinkClosedError(self._ended_because)
            await self._changed.wait()

    # From the other side's signalling

    def describe(self, message: Description) -> None:
        """Hand a message about connections to the peer."""
        assert self._peer is not None
        self.call(self._peer.describe, message)

    def put(self, message: Frame | Exception) -> None:
        """Add a message, or an error, as if it had been received on a data channel."""
        self._incoming.append(message)
        self._notify()

    @property
    def end_reason(self) -> str | None:
        """The reason for which the stream has ended; None while it has not."""
        return self._ended_because

    @property
    def unread(self) -> int:
        """The number of frames that wait to be received; 0 once the stream has ended."""
        return len(self._incoming) if self._ended_because is None else 0

    @property
    def untaken(self) -> int:
        """Bytes that were given to the peer and not taken by it; 0 once the stream has ended."""
        return self._untaken if self._ended_because is None else 0

    async def wait_changed(self) -> None:
        """Wait until something was received, taken, or ended."""
        if self._ended_because is None:
            await self._changed.wait()

    async def wait_arrived(self) -> None:
        """Wait until everything that was sent has arrived, for a second at the most."""
        if self._peer is None:
            return
        self._is_draining = True
        self.call(self._peer.drain)
        while self._is_draining and self._ended_because is None:
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
        self.call(self._peer.send, message)
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
        if isinstance(first, Exception):
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
            self.call(self._peer.on_read, self._read_bytes)
            self._read_bytes = 0
        self._notify()

    def call(self, function: Callable[..., None], *arguments: object) -> None:
        """Call a function in the thread of the peers soon; without the thread, end."""
        try:
            self._thread.call(function, *arguments)
        except LinkClosedError as error:
            self.end(str(error))

    # From the peer

    def _report(self, report: Report) -> None:
        """Take a report, in the thread of the peers: many reports cost one call into the host."""
        self._reports.append(report)
        if self._are_read:
            self._are_read = False
            self._thread.run_in_host(self._read_reports)

    def _read_reports(self) -> None:
        # First, or a report that is made right now would not be read.
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
                    # Another side that does not read, or is gone, is noticed elsewhere.
                    with suppress(LinkClosedError, LinkFullError):
                        self._tell(described)
                case Drained():
                    self._is_draining = False
                case Received(receivers):
                    self.receivers = receivers
                    self.media_changed.notify()
                case Rejected(cids):
                    self.rejected = cids
                    self.media_changed.notify()
                case Failed(reason):
                    self.end(reason)
        if self._reports and self._are_read:
            # Other tasks have their turn before.
            self._are_read = False
            self._thread.run_in_host(self._read_reports)
        self._notify()

    # The end

    def end(self, reason: str) -> None:
        """End, for a reason for a person; messages can still be received."""
        if self._ended_because is None:
            self._ended_because = reason
            if self._peer is not None:
                with suppress(LinkClosedError):
                    self._thread.call(self._peer.close)
            self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = self._backend.event()
