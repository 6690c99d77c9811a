"""Sending streams: which form each takes, for whom it is meant (rules S4 and S5)."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from livekit.protocol import models

from ..concurrency import Backend
from ..errors import StreamError
from ..links import LinkClosedError
from .content import CHUNK_BYTES, deflate, split_bytes, split_utf8
from .info import BYTES_MIME_TYPE, ByteStreamInfo, TextStreamInfo
from .writers import ABANDON_TIMEOUT, ByteStreamWriter, SendPacket, TextStreamWriter

DataStream = models.DataStream

#: What the number of a reliable packet adds to it when it is sent (P6).
_SEQUENCE_BYTES: Final = 7
#: Content below this is not worth compressing: it saves less than it costs.
_COMPRESS_FROM_BYTES: Final = 1024
#: Content above this is compressed in a thread, for it takes milliseconds.
_COMPRESS_IN_THREAD_BYTES: Final = 64 * 1024
#: What is read from a file at once.
_FILE_READ_BYTES: Final = 16 * CHUNK_BYTES

#: Told how many bytes of a file were sent, and how many there are.
OnProgress = Callable[[int, int], None]


class Receivers(Protocol):
    """What is known of those whom a stream is meant for."""

    def all_take_inline(self, destinations: Sequence[str]) -> bool:
        """Whether they take content in the header; empty destinations are everybody."""
        ...

    def all_inflate(self, destinations: Sequence[str]) -> bool:
        """Whether they take compressed content; empty destinations are everybody."""
        ...


class OutgoingStreams:
    """The streams that we send during one stay in a room."""

    def __init__(self, backend: Backend, send: SendPacket, receivers: Receivers) -> None:
        self._backend = backend
        self._send_packet = send
        self._receivers = receivers

    async def send_text(
        self,
        text: str,
        *,
        destinations: Sequence[str],
        topic: str,
        attributes: Mapping[str, str],
        reply_to_stream_id: str = "",
        send: SendPacket | None = None,
        abandon_timeout: float = ABANDON_TIMEOUT,
    ) -> TextStreamInfo:
        """Send a whole text: in the header where that is possible, compressed where it helps.

        Args:
            send: Sends each packet, in place of what sends them otherwise.
            abandon_timeout: Seconds that telling the receivers may take, should it break off.

        Raises:
            StreamError: the connection was lost.
        """
        content = text.encode()
        info = TextStreamInfo(
            topic=topic,
            size=len(content),
            attributes=dict(attributes),
            reply_to_stream_id=reply_to_stream_id,
        )
        inline = self._receivers.all_take_inline(destinations)
        deflated = await self._deflate(content, inline, destinations)
        compression = DataStream.CompressionType.NONE
        if deflated is not None:
            compression = DataStream.CompressionType.DEFLATE_RAW
        if inline:
            header = info.header()
            header.compression = compression
            header.inline_content = content if deflated is None else deflated
            packet = models.DataPacket(destination_identities=destinations, stream_header=header)
            if packet.ByteSize() + _SEQUENCE_BYTES <= CHUNK_BYTES:
                await self._send(packet, send)
                return info
        writer = TextStreamWriter(
            self._backend, send or self._send_packet, info, destinations, abandon_timeout
        )
        async with writer:
            await writer.open(compression)
            chunks = split_utf8(content) if deflated is None else split_bytes(deflated)
            await writer.write_chunks(chunks)
        return info

    async def stream_text(
        self, info: TextStreamInfo, destinations: Sequence[str]
    ) -> TextStreamWriter:
        """Begin a text that is written piece by piece."""
        writer = TextStreamWriter(self._backend, self._send_packet, info, destinations)
        await writer.open()
        return writer

    async def stream_bytes(
        self, info: ByteStreamInfo, destinations: Sequence[str]
    ) -> ByteStreamWriter:
        """Begin bytes that are written piece by piece."""
        writer = ByteStreamWriter(self._backend, self._send_packet, info, destinations)
        await writer.open()
        return writer

    async def send_file(
        self,
        path: str | os.PathLike[str],
        *,
        destinations: Sequence[str],
        topic: str,
        attributes: Mapping[str, str],
        on_progress: OnProgress | None,
    ) -> ByteStreamInfo:
        """Send a file; what is in memory of it at a time does not depend on its size.

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
        self, content: bytes, inline: bool, destinations: Sequence[str]
    ) -> bytes | None:
        """`content` compressed, or None where that can't be read or does not help."""
        if len(content) < _COMPRESS_FROM_BYTES or not inline:
            return None
        if not self._receivers.all_inflate(destinations):
            return None
        if len(content) > _COMPRESS_IN_THREAD_BYTES:
            deflated: bytes = await self._backend.run_sync_in_thread(deflate, content)
        else:
            deflated = deflate(content)
        return deflated if len(deflated) < len(content) else None

    async def _send(self, packet: models.DataPacket, send: SendPacket | None) -> None:
        try:
            await (send or self._send_packet)(packet)
        except LinkClosedError as error:
            raise StreamError(f"not sent: {error}") from None
