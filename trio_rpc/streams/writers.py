"""Writing streams piece by piece."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from livekit.protocol import models

from ..concurrency import CANCELLED, Backend
from ..errors import StreamError
from ..links import LinkClosedError
from ..links.packet_sender import PacketSender, Refresh
from ..protocol.stream_content import split_bytes, split_text
from ..protocol.stream_info import ByteStreamInfo, TextStreamInfo

I = TypeVar("I", bound=TextStreamInfo | ByteStreamInfo)  # noqa: E741
DataStream = models.DataStream

#: Seconds that an abandoned stream may take to tell its receivers.
ABANDON_TIMEOUT: Final = 1.0


class StreamWriter(Generic[I]):
    """The common part of writers of texts and of bytes.

    Use it in an `async with` block: the end of the block ends the stream, and an exception in it
    tells the receivers that the stream broke off.

    Every packet names the destinations, since one that names none goes to everybody (P4).
    """

    def __init__(
        self,
        backend: Backend,
        packet_sender: PacketSender,
        info: I,
        destinations: Sequence[str],
        abandon_timeout: float = ABANDON_TIMEOUT,
        is_superseded: Callable[[], bool] = lambda: False,
    ) -> None:
        self._backend = backend
        self._packet_sender = packet_sender
        self._info = info
        self._destinations = destinations
        self._abandon_timeout = abandon_timeout
        self._is_superseded = is_superseded
        self._join = packet_sender.joins
        self._next_index = 0
        self._closed = False
        # Chunks keep their order however many tasks write.
        self._lock = backend.lock()

    @property
    def info(self) -> I:
        """The description of the stream."""
        return self._info

    async def open(
        self,
        compression: models.DataStream.CompressionType = DataStream.CompressionType.NONE,
        refresh: Refresh | None = None,
    ) -> None:
        """Announce the stream; the local participant does this before it returns a writer."""
        packet = self._packet()
        self._info.write(packet.stream_header)
        packet.stream_header.compression = compression
        await self._send(packet, refresh)

    async def write_chunks(self, chunks: Iterable[bytes]) -> None:
        """Send chunks of at most 15,000 bytes, waiting for room in the queue before each.

        Raises:
            RuntimeError: the stream was closed.
            StreamError: the connection was lost.
        """
        async with self._lock:
            for content in chunks:
                if self._closed:
                    raise RuntimeError(f"stream {self._info.stream_id} was closed")
                packet = self._packet()
                chunk = packet.stream_chunk
                chunk.stream_id = self._info.stream_id
                chunk.chunk_index = self._next_index
                chunk.content = content
                await self._send(packet)
                self._next_index += 1

    async def aclose(
        self, *, reason: str = "", attributes: Mapping[str, str] | None = None
    ) -> None:
        """End the stream; ending it again is not an error.

        Args:
            reason: The reason why it breaks off; empty when it is complete.
            attributes: Texts by key that were not known before.

        Raises:
            StreamError: the connection was lost.
        """
        packet = self._packet()
        packet.stream_trailer.CopyFrom(
            DataStream.Trailer(stream_id=self._info.stream_id, reason=reason, attributes=attributes)
        )
        if reason:
            await self._end(packet)
        else:
            # After other tasks' writes, whose content would be missing without a trace otherwise.
            async with self._lock:
                await self._end(packet)

    async def _end(self, trailer: models.DataPacket) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await self._send(trailer)
        except CANCELLED:
            # Cancelled while it waited for room: the receivers have not got the trailer.
            self._closed = False
            raise

    def _packet(self) -> models.DataPacket:
        return models.DataPacket(destination_identities=self._destinations)

    async def _send(self, packet: models.DataPacket, refresh: Refresh | None = None) -> None:
        def check_and_refresh(packet: models.DataPacket) -> None:
            self._check_join()
            if refresh is not None:
                refresh(packet)

        self._check_join()
        try:
            await self._packet_sender.send(packet, check_and_refresh)
        except LinkClosedError as error:
            raise StreamError(f"not sent: {error}") from error

    def _check_join(self) -> None:
        """Refuse to go on after a rejoin: the receivers have ended the stream (L7)."""
        if self._packet_sender.joins != self._join:
            raise StreamError("the connection was lost, and the room joined again")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is not None:
            # The error itself is for our side alone.
            await self._break_off()
            return
        try:
            await self.aclose()
        except CANCELLED:
            await self._break_off()
            raise

    async def _break_off(self) -> None:
        if self._is_superseded():
            return
        # Shielded: the receivers are told even if the block was cancelled.
        with suppress(StreamError), self._backend.move_on_after(self._abandon_timeout, shield=True):
            await self.aclose(reason="the sender broke off")


class TextStreamWriter(StreamWriter[TextStreamInfo]):
    """A writer of text, piece by piece."""

    async def write(self, text: str) -> None:
        """Send more text, after waiting for room in the queue.

        Raises:
            RuntimeError: the stream was closed.
            StreamError: the connection was lost.
        """
        await self.write_chunks(split_text(text))


class ByteStreamWriter(StreamWriter[ByteStreamInfo]):
    """A writer of bytes, piece by piece."""

    async def write(self, data: bytes) -> None:
        """Send more bytes, after waiting for room in the queue.

        Raises:
            RuntimeError: the stream was closed.
            StreamError: the connection was lost.
        """
        await self.write_chunks(split_bytes(data))


W = TypeVar("W", bound=TextStreamWriter | ByteStreamWriter)


class StreamOpening(Generic[W]):
    """A stream that is about to be opened: entered, or awaited, once.

        async with local_participant.stream_text(topic="story") as writer:
            await writer.write("Once upon a time, ")

    The block opens the stream and ends it. `await` opens it, as in LiveKit's SDK, and leaves the
    end to the writer. Nothing is sent before, nor when opening is cancelled.

    Raises:
        RuntimeError: the stream was opened already; or the room is not joined.
        StreamError: we may not send data, or the connection was lost.
        ValueError: something in the header is larger than receivers accept (B2).
    """

    def __init__(self, open_stream: Callable[[], Awaitable[W]]) -> None:
        self._open_stream = open_stream
        self._opened = False
        # Set when the block is entered
        self._writer: W

    async def _open(self) -> W:
        if self._opened:
            raise RuntimeError("this stream was opened already: call the method again for another")
        self._opened = True
        return await self._open_stream()

    def __await__(self) -> Generator[Any, Any, W]:
        return self._open().__await__()

    async def __aenter__(self) -> W:
        self._writer = await self._open()
        return self._writer

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._writer.__aexit__(exc_type, exc, traceback)
