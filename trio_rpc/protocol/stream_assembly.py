"""Putting a received stream together again, and noticing when it cannot be (rule S6).

No I/O: chunks go in, their content comes out, as it was sent. Who reads it inflates it.
"""

from __future__ import annotations

import codecs
from typing import Final

from livekit.protocol import models

from ..errors import StreamError

_NONE: Final = models.DataStream.CompressionType.NONE
_DEFLATE_RAW: Final = models.DataStream.CompressionType.DEFLATE_RAW


def inline_text(header: models.DataStream.Header) -> str:
    """Return the text that a header brings along, which is not compressed.

    Raises:
        StreamError: it is not what was announced, or not UTF-8.
    """
    assembly = StreamAssembly(header)
    content = assembly.add(header.inline_content)
    assembly.finish()
    return decode_text(content)


def decode_text(content: bytes) -> str:
    """Return the text of a whole content.

    Raises:
        StreamError: it is not UTF-8.
    """
    return TextDecoder().decode(content, final=True)


class TextDecoder:
    """Decodes a text that comes in pieces, which may end within a character."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")().decode

    def decode(self, piece: bytes, *, final: bool = False) -> str:
        """Return what is complete with this piece.

        Raises:
            StreamError: it is not UTF-8.
        """
        try:
            return self._decode(piece, final)
        except UnicodeDecodeError:
            raise StreamError("it is not UTF-8") from None


class StreamAssembly:
    """The pieces of one stream, as they come in.

    Args:
        header: What announced the stream.

    Raises:
        StreamError: the stream is compressed in a way that we don't know.
    """

    def __init__(self, header: models.DataStream.Header) -> None:
        compression = header.compression
        if compression not in (_NONE, _DEFLATE_RAW):
            raise StreamError(f"it is compressed in an unknown way, {compression}")
        # Of compressed content, only its reader knows how much it is.
        is_counted = compression == _NONE and header.HasField("total_length")
        self._announced = header.total_length if is_counted else None
        self._next_index = 0
        self._received = 0

    def add_chunk(self, chunk: models.DataStream.Chunk) -> bytes:
        """Return what a chunk adds to the content.

        Raises:
            StreamError: it is not the next chunk, or more than was announced.
        """
        if chunk.chunk_index != self._next_index:
            raise StreamError(f"chunk {self._next_index} is missing: {chunk.chunk_index} came")
        self._next_index += 1
        return self.add(chunk.content)

    def add(self, piece: bytes) -> bytes:
        """Return what a piece adds to the content, of a chunk or of the header.

        Raises:
            StreamError: it is more than was announced.
        """
        self._received += len(piece)
        if self._announced is not None and self._received > self._announced:
            raise StreamError(
                f"{self._announced:,} bytes were announced, and {self._received:,} have come"
            )
        return piece

    def finish(self, reason: str = "") -> None:
        """Make sure that every piece is there.

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
