"""Sending streams: the form of each, by its destinations (rules S4 and S5).

Content that fits into one packet uncompressed is not compressed: deflating 10 KB costs more than
the rest of sending it.
"""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from livekit.protocol import models

from ..concurrency import Backend
from ..errors import StreamError
from ..links import LinkClosedError
from ..links.packet_sender import PacketSender, Refresh
from ..protocol.bounds import check_bounds
from ..protocol.deflating import deflate
from ..protocol.stream_content import CHUNK_BYTES, split_bytes, split_text
from ..protocol.stream_info import BYTES_MIME_TYPE, ByteStreamInfo, TextStreamInfo
from .writers import ABANDON_TIMEOUT, ByteStreamWriter, StreamWriter, TextStreamWriter

_NONE: Final = models.DataStream.CompressionType.NONE
_DEFLATE_RAW: Final = models.DataStream.CompressionType.DEFLATE_RAW

#: A longer text is compressed in a thread, since it takes milliseconds.
_COMPRESS_IN_THREAD_CHARACTERS: Final = 64 * 1024
#: The bytes read from a file at once.
_FILE_READ_BYTES: Final = 16 * CHUNK_BYTES

#: Called with the bytes of a file that were sent, and its size.
OnProgress = Callable[[int, int], None]


class Receivers(Protocol):
    """The abilities of the receivers of a stream."""

    def all_take_inline(self, destinations: Sequence[str]) -> bool:
        """Whether all accept content in the header; empty destinations mean everybody."""
        ...

    def all_inflate(self, destinations: Sequence[str]) -> bool:
        """Whether all accept compressed content; empty destinations mean everybody."""
        ...


class OutgoingStreams:
    """The streams that one session sends."""

    def __init__(self, backend: Backend, packet_sender: PacketSender, receivers: Receivers) -> None:
        self._backend = backend
        self._packet_sender = packet_sender
        self._receivers = receivers

    async def send_content(
        self,
        info: TextStreamInfo | ByteStreamInfo,
        content: str | bytes,
        destinations: Sequence[str],
        *,
        compress: bool,
    ) -> None:
        """Send a whole text, or bytes.

        Args:
            info: The description of the stream, its size included.
            content: The text or the bytes.
            destinations: The identities that it is for; empty means everybody.
            compress: Whether it may be compressed.

        Raises:
            StreamError: the connection was lost.
            ValueError: something in the header is larger than receivers accept (B2).
        """
        _check(info, destinations)
        await self.send_whole(info, content, destinations, compress=compress)

    async def send_whole(
        self,
        info: TextStreamInfo | ByteStreamInfo,
        content: str | bytes,
        destinations: Sequence[str],
        *,
        compress: bool = True,
        refresh: Refresh | None = None,
        abandon_timeout: float = ABANDON_TIMEOUT,
        is_superseded: Callable[[], bool] = lambda: False,
    ) -> None:
        """Send a complete text, or bytes: in the header where that is possible (S5).

        Args:
            info: The description of the stream, its size included.
            content: The text or the bytes.
            destinations: The identities that it is for; empty means everybody.
            compress: Whether it may be compressed.
            refresh: Refreshes the header; see `PacketSender.send`.
            abandon_timeout: Seconds that the trailer may take, if the stream breaks off.
            is_superseded: Whether another stream follows if this one breaks off, which the
                receivers are not told then.

        Raises:
            StreamError: the connection was lost.
        """
        inline = self._receivers.all_take_inline(destinations)
        if inline and len(content) <= CHUNK_BYTES:
            whole = content.encode() if isinstance(content, str) else content
            if await self._send_inline(info, whole, _NONE, destinations, refresh):
                return
        deflated = await self._deflate(info, content, destinations) if inline and compress else None
        compression = _NONE if deflated is None else _DEFLATE_RAW
        if deflated is not None and await self._send_inline(
            info, deflated, compression, destinations, refresh
        ):
            return
        writer = StreamWriter(
            self._backend, self._packet_sender, info, destinations, abandon_timeout, is_superseded
        )
        async with writer:
            await writer.open(compression, refresh)
            chunks = _split(content) if deflated is None else split_bytes(deflated)
            await writer.write_chunks(chunks)

    async def _send_inline(
        self,
        info: TextStreamInfo | ByteStreamInfo,
        content: bytes,
        compression: models.DataStream.CompressionType,
        destinations: Sequence[str],
        refresh: Refresh | None,
    ) -> bool:
        """Send a stream as one packet, if it fits; return whether it did."""
        if len(content) > CHUNK_BYTES:
            return False
        packet = models.DataPacket(destination_identities=destinations)
        header = packet.stream_header
        info.write(header)
        header.inline_content = content
        if compression != _NONE:
            header.compression = compression
        try:
            return await self._packet_sender.send_within(CHUNK_BYTES, packet, refresh)
        except LinkClosedError as error:
            raise StreamError(f"not sent: {error}") from error

    async def stream_text(
        self, info: TextStreamInfo, destinations: Sequence[str]
    ) -> TextStreamWriter:
        """Open a text stream, to be written piece by piece. Raises as `send_text`."""
        _check(info, destinations)
        writer = TextStreamWriter(self._backend, self._packet_sender, info, destinations)
        await writer.open()
        return writer

    async def stream_bytes(
        self, info: ByteStreamInfo, destinations: Sequence[str]
    ) -> ByteStreamWriter:
        """Open a byte stream, to be written piece by piece. Raises as `send_text`."""
        _check(info, destinations)
        writer = ByteStreamWriter(self._backend, self._packet_sender, info, destinations)
        await writer.open()
        return writer

    async def send_file(
        self,
        path: str | os.PathLike[str],
        *,
        destinations: Sequence[str],
        topic: str,
        attributes: Mapping[str, str],
        stream_id: str,
        on_progress: OnProgress | None,
    ) -> ByteStreamInfo:
        """Send a file, in an amount of memory that does not depend on its size.

        Raises:
            OSError: the file can't be read.
            StreamError: the connection was lost, or the file changed its size meanwhile.
        """
        file_path = Path(path)
        in_thread = self._backend.run_sync_in_thread
        with await in_thread(file_path.open, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            info = ByteStreamInfo(
                name=file_path.name,
                mime_type=mimetypes.guess_type(file_path.name)[0] or BYTES_MIME_TYPE,
                topic=topic,
                size=size,
                attributes=dict(attributes),
                stream_id=stream_id,
            )
            sent = 0
            async with await self.stream_bytes(info, destinations) as writer:
                while piece := await in_thread(file.read, _FILE_READ_BYTES):
                    sent += len(piece)
                    if sent > size:
                        raise StreamError(f"{file_path} grew while it was sent")
                    await writer.write(piece)
                    if on_progress is not None:
                        on_progress(sent, size)
                if sent < size:
                    raise StreamError(f"{file_path} shrank while it was sent")
        return info

    async def _deflate(
        self,
        info: TextStreamInfo | ByteStreamInfo,
        content: str | bytes,
        destinations: Sequence[str],
    ) -> bytes | None:
        """Compress content; None if the receivers can't inflate, or it does not get smaller."""
        if not self._receivers.all_inflate(destinations):
            return None
        if len(content) > _COMPRESS_IN_THREAD_CHARACTERS:
            deflated: bytes = await self._backend.run_sync_in_thread(deflate, _split(content))
            # The thread is waited for in any case, and nothing else may wait before it is sent.
            await self._backend.checkpoint_if_cancelled()
        else:
            deflated = deflate(_split(content))
        return deflated if info.size is None or len(deflated) < info.size else None


def _split(content: str | bytes) -> Iterable[bytes]:
    return split_text(content) if isinstance(content, str) else split_bytes(content)


def _check(info: TextStreamInfo | ByteStreamInfo, destinations: Sequence[str]) -> None:
    packet = models.DataPacket(destination_identities=destinations)
    info.write(packet.stream_header)
    check_bounds(packet, "stream_header", packet.ByteSize())
