"""Putting a received stream together again, and noticing when it cannot be (rule S6).

No I/O: chunks go in, content comes out.
"""

from __future__ import annotations

from typing import Final

from livekit.protocol import models

from ..errors import StreamError
from .content import InflateError, Inflater

_NONE: Final = models.DataStream.CompressionType.NONE
_DEFLATE_RAW: Final = models.DataStream.CompressionType.DEFLATE_RAW


class StreamAssembly:
    """The content of one stream, as its pieces come in.

    Args:
        header: What announced the stream.
        max_bytes: What one piece may inflate to.

    Raises:
        StreamError: the stream is compressed in a way that we don't know.
    """

    def __init__(self, header: models.DataStream.Header, max_bytes: int) -> None:
        self._announced = header.total_length if header.HasField("total_length") else None
        self._next_index = 0
        self._received = 0
        self._inflater: Inflater | None = None
        compression = header.compression
        if compression == _DEFLATE_RAW:
            self._inflater = Inflater(max_bytes)
        elif compression != _NONE:
            raise StreamError(f"it is compressed in an unknown way, {compression}")

    def add_chunk(self, chunk: models.DataStream.Chunk) -> bytes:
        """What a chunk adds to the content.

        Raises:
            StreamError: it is not the next chunk, or more than was announced.
        """
        if chunk.chunk_index != self._next_index:
            raise StreamError(f"chunk {self._next_index} is missing: {chunk.chunk_index} came")
        self._next_index += 1
        return self.add(chunk.content)

    def add(self, piece: bytes) -> bytes:
        """What a piece adds to the content, of a chunk or of the header.

        Raises:
            StreamError: it is more than was announced, or not what was announced.
        """
        if self._inflater is not None:
            try:
                piece = self._inflater.inflate(piece)
            except InflateError as error:
                raise StreamError(str(error)) from None
        self._received += len(piece)
        if self._announced is not None and self._received > self._announced:
            raise StreamError(
                f"{self._announced:,} bytes were announced, and {self._received:,} have come"
            )
        return piece

    def finish(self, reason: str = "") -> None:
        """Make sure that the whole content is there.

        Args:
            reason: What the trailer says went wrong; nothing when it is empty.

        Raises:
            StreamError: it is not.
        """
        if reason:
            raise StreamError(f"its sender gave up: {reason}")
        if self._announced is not None and self._received < self._announced:
            raise StreamError(
                f"{self._announced:,} bytes were announced, and only {self._received:,} have come"
            )
        if self._inflater is not None:
            try:
                self._inflater.finish()
            except InflateError as error:
                raise StreamError(str(error)) from None
