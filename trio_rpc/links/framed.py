"""A link over anything that carries messages of bytes.

Senders only queue; a writer task takes all that is queued and sends it as one message (at most
about 64 KB), so that frames queued in one tick of the event loop leave in one write. A sender may
be cancelled at any time without cutting a message in two. A sender that knows that nothing else
will come in this tick need not wait for the writer: `flush_nowait`. One that knows it before need
not wake the writer. Of many frames, the first `EARLY_FRAMES` need not wait either.

Receivers get the frames of a message in slices, and after some of them the other tasks have a turn,
however many messages have come already (B7).

The queue is bounded in bytes. When it is full `send_nowait` refuses, and `wait_writable` waits; a
lossy frame is dropped when the queue is half full.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Final

from .. import concurrency
from ..concurrency import Backend, Event
from ..protocol.logs import peer_logger
from ..protocol.retained import RetainedPackets
from .base import Channel, Frame, LinkClosedError, LinkFullError, MessageStream
from .frames import FRAME_OVERHEAD, NO_FRAME, decode_some_frames, encode_and_count

logger = peer_logger(__name__)

#: The size from which on the rest waits for the next message: larger ones were slower.
COALESCED_BYTES: Final = 64 * 1024
#: When this many frames are queued, they are flushed before the tick is over.
#: If all calls in flight travelled in one message, their caller, the server and their callee would
#: work in turns, and never at the same time.
EARLY_FRAMES: Final = 32
#: The frames of a message that are received at once.
SLICE_FRAMES: Final = 32
#: The frames after which the other tasks have their turn; each slice counts as one more.
TURN_FRAMES: Final = 32
#: The bytes that count as a further frame.
_FRAME_BYTES: Final = 4 * 1024
#: The most bytes that a link queues, unless set otherwise.
DEFAULT_MAX_QUEUE_BYTES: Final = 4 * 1024 * 1024
#: Seconds that closing may take: sending what is queued, and the closing handshake.
CLOSE_TIMEOUT: Final = 2.0


@asynccontextmanager
async def open_framed_link(
    stream: MessageStream, *, max_queue_bytes: int = DEFAULT_MAX_QUEUE_BYTES
) -> AsyncGenerator[FramedLink]:
    """Open a link over `stream` for the block; its end closes both.

    Args:
        stream: Carries the messages; the link owns it from here on.
        max_queue_bytes: The most that may wait to be sent.
    """
    backend = concurrency.current()
    link = FramedLink(stream, backend, max_queue_bytes)
    async with concurrency.open_service_nursery() as nursery:
        nursery.start_soon(link.run_writer)
        try:
            yield link
        finally:
            await link.aclose()


class FramedLink:
    """The `Link` that `open_framed_link` opens.

    Attributes:
        queued_bytes: Bytes that wait to be sent, without those in flight.
    """

    notices_silence = False
    can_resume = True
    roster_delay = 0.0
    media = None

    def __init__(self, stream: MessageStream, backend: Backend, max_queue_bytes: int) -> None:
        self._stream = stream
        self._backend = backend
        self._max_queue_bytes = max_queue_bytes
        self._half = max_queue_bytes // 2
        self.retained: RetainedPackets | None = None
        # Frames that wait to be sent
        self._queue: deque[Frame] = deque()
        self.queued_bytes = 0
        # Those of an earlier link, which come first, and do not count against the limit
        self._resent_bytes = 0
        self._sending = False
        # Whether the stream has refused a message since the writer's last turn
        self._refused = False
        # Wakes the writer
        self._something_queued: Event = backend.event()
        self._is_woken = False
        # The bytes given to the stream, and how many of them it had taken at the last check
        self._given_bytes = 0
        self._taken_bytes = 0
        # Set while a task waits for it
        self._something_sent: Event | None = None
        # Received: the message that is being handed out, and the frames since others had a turn
        self._message: bytes = b""
        self._position = 0
        self._found_frames = False
        self._frames_this_turn = 0
        # The end
        self._writer_scope = backend.cancel_scope(shield=True)
        self._closed_because: str | None = None
        self._closing = False
        self._end_received: Event = backend.event()

    def send_nowait(self, frame: Frame, *, flush_follows: bool = False) -> None:
        if self._closed_because is not None:
            self._retain_instead(frame, self._closed_because)
            return
        channel, body = frame
        size = len(body) + FRAME_OVERHEAD
        queue = self._queue
        # An empty queue takes any frame: one that is larger than the queue would never leave.
        if queue and (waiting := self.queued_bytes - self._resent_bytes + size) > self._half:
            if channel is Channel.LOSSY:
                logger.debug("dropped a lossy packet: %d bytes are queued", self.queued_bytes)
                return
            if waiting > self._max_queue_bytes:
                raise LinkFullError(
                    f"{self.queued_bytes:,} bytes wait to be sent, of {self._max_queue_bytes:,}"
                )
        queue.append(frame)
        self.queued_bytes += size
        if flush_follows:
            return
        if not self._is_woken:
            self._wake_writer()
        if len(queue) >= EARLY_FRAMES:
            self.flush_nowait()

    def resend_nowait(self, frames: Iterable[Frame]) -> None:
        if self._closed_because is not None:
            raise LinkClosedError(self._closed_because)
        before = self.queued_bytes
        for frame in frames:
            self._queue.append(frame)
            self.queued_bytes += len(frame.body) + FRAME_OVERHEAD
        self._resent_bytes += self.queued_bytes - before
        if self._queue:
            self._wake_writer()

    def _wake_writer(self) -> None:
        self._is_woken = True
        self._something_queued.set()

    def flush_nowait(self) -> None:
        # While it is sending, the writer takes what else is queued; it has been woken for what was
        # refused.
        if not self._queue or self._sending or self._refused:
            return
        if self._stream.can_send_nowait:
            self._send_message_nowait()
        if self._queue and not self._is_woken:
            self._wake_writer()

    def _send_message_nowait(self) -> None:
        queued, resent = self.queued_bytes, self._resent_bytes
        frames = self._take_queued()
        size = queued - self.queued_bytes
        message, packets = encode_and_count(frames)
        try:
            sent = self._stream.send_message_nowait(message)
        except LinkClosedError:
            # The writer gets the same error, and handles it.
            sent = False
        if sent:
            if self.retained is not None:
                self.retained.add(message, packets)
            self._given_bytes += size
            self._notify_sent()
        else:
            self._refused = True
            self._queue.extendleft(reversed(frames))
            self.queued_bytes += size
            self._resent_bytes = resent

    def has_progressed(self) -> bool:
        unsent = self._stream.unsent_bytes
        taken = self._given_bytes - unsent
        progressed = taken != self._taken_bytes or not (self._queue or self._sending or unsent)
        self._taken_bytes = taken
        return progressed

    async def wait_writable(self) -> None:
        if self._closed_because is None:
            await self._wait_progress()

    async def wait_sent(self) -> None:
        while self._queue or self._sending:
            await self._wait_progress()

    async def receive(self) -> list[Frame]:
        while True:
            if self._frames_this_turn >= TURN_FRAMES:
                self._frames_this_turn = 0
                await self._backend.checkpoint()
            if self._position == len(self._message):
                self._message = await self._receive_message()
                self._position = 0
                self._found_frames = False
            if frames := self._decode_slice():
                return frames

    async def _receive_message(self) -> bytes:
        try:
            return await self._stream.receive_message()
        except LinkClosedError as error:
            # The peer's close reason takes precedence over our write error.
            if not (self._closing or self._end_received.is_set()):
                self._closed_because = str(error)
                self._discard_queue()
            self._end_received.set()
            assert self._closed_because is not None
            raise LinkClosedError(self._closed_because) from None

    def _decode_slice(self) -> list[Frame]:
        message = self._message
        position = start = self._position
        # If these are no frames, the message is over.
        self._message, self._position = b"", 0
        # One more than there are frames: a message without any costs something too.
        self._frames_this_turn += 1
        frames, position = decode_some_frames(message, position, SLICE_FRAMES)
        self._frames_this_turn += len(frames) + (position - start) // _FRAME_BYTES
        if position < len(message):
            self._message, self._position = message, position
        elif not (frames or self._found_frames):
            raise ValueError(NO_FRAME)
        self._found_frames = self._found_frames or bool(frames)
        return frames

    def discard_queued(self) -> None:
        if self.retained is not None:
            self.retained.add(*encode_and_count(self._queue))
        self._queue.clear()
        self.queued_bytes = 0
        self._resent_bytes = 0

    async def aclose(self, reason: str = "") -> None:
        if self._closing:
            return
        self._closing = True
        if self._closed_because is None:
            self._closed_because = "the link was closed here" + (f": {reason}" if reason else "")
        with self._backend.move_on_after(CLOSE_TIMEOUT, shield=True):
            await self.wait_sent()
        self._writer_scope.cancel()
        with self._backend.move_on_after(CLOSE_TIMEOUT, shield=True):
            await self._stream.aclose(reason)
        self._discard_queue()

    async def run_writer(self) -> None:
        """Send what is queued, until the link is closed or the stream fails.

        Shielded: a cancelled participant still sends its last packets, and a message is never cut
        in two. `aclose` ends it.
        """
        with self._writer_scope:
            try:
                while True:
                    await self._something_queued.wait()
                    self._something_queued = self._backend.event()
                    self._is_woken = False
                    await self._send_queued()
            except LinkClosedError as error:
                if self._closed_because is None:
                    self._closed_because = str(error)
                self._discard_queue()
                # Messages that are here already are received first, such as a close reason.
                with self._backend.move_on_after(CLOSE_TIMEOUT):
                    await self._end_received.wait()
                # The receiver is told too, in case the stream has ended in one direction only.
                with self._backend.move_on_after(CLOSE_TIMEOUT):
                    await self._stream.aclose("the other direction failed")

    async def _send_queued(self) -> None:
        self._sending = True
        self._refused = False
        try:
            while self._queue:
                queued = self.queued_bytes
                message, packets = encode_and_count(self._take_queued())
                if self.retained is not None:
                    # Before it is sent: part of it may arrive.
                    self.retained.add(message, packets)
                # Counted before it is sent: until then it is unsent.
                self._given_bytes += queued - self.queued_bytes
                await self._stream.send_message(message)
                self._notify_sent()
        finally:
            self._sending = False
            self._notify_sent()

    def _take_queued(self) -> list[Frame]:
        """Take the next message out of the queue: mostly, all of it."""
        queue, size = self._queue, self.queued_bytes
        if size <= COALESCED_BYTES:
            taken = list(queue)
            queue.clear()
        else:
            taken = [queue.popleft()]
            size = len(taken[0].body) + FRAME_OVERHEAD
            while queue and size + len(queue[0].body) + FRAME_OVERHEAD <= COALESCED_BYTES:
                taken.append(queue.popleft())
                size += len(taken[-1].body) + FRAME_OVERHEAD
        self.queued_bytes -= size
        self._resent_bytes = max(self._resent_bytes - size, 0)
        return taken

    def _retain_instead(self, frame: Frame, closed_because: str) -> None:
        if self.retained is None:
            raise LinkClosedError(closed_because)
        # What was queued before comes first.
        self.discard_queued()
        self.retained.add(*encode_and_count([frame]))

    def _discard_queue(self) -> None:
        self.discard_queued()
        self._notify_sent()

    async def _wait_progress(self) -> None:
        if self._something_sent is None:
            self._something_sent = self._backend.event()
        await self._something_sent.wait()

    def _notify_sent(self) -> None:
        if self._something_sent is not None:
            self._something_sent.set()
            self._something_sent = None
