"""The assembly of a received stream, which notices when something is missing (rule S6).

No I/O: chunks go in, their content comes out, as it was sent. The reader inflates it.
"""

from __future__ import annotations

import codecs
from typing import Final

from livekit.protocol import models

from ..errors import StreamError

_NONE: Final = models.DataStream.CompressionType.NONE
_DEFLATE_RAW: Final = models.DataStream.CompressionType.DEFLATE_RAW
_NOT_UTF8: Final = "it is not UTF-8"


def inline_text(header: models.DataStream.Header) -> str:
    """Return the text inline in a header, which is not compressed.

    Raises:
        StreamError: its size is not as announced, or it is not UTF-8.
    """
    # An assembly of pieces costs more than a small call's content is worth.
    content = header.inline_content
    if header.HasField("total_length"):
        _check_size(len(content), header.total_length)
    return decode_text(content)


def _check_size(received: int, announced: int, *, is_complete: bool = True) -> None:
    if received > announced:
        raise StreamError(f"{announced:,} bytes were announced, and {received:,} have come")
    if is_complete and received < announced:
        raise StreamError(f"{announced:,} bytes were announced, and only {received:,} have come")


def decode_text(content: bytes) -> str:
    """Decode the complete content of a text stream.

    Raises:
        StreamError: it is not UTF-8.
    """
    # A decoder of pieces costs more than a small call's content is worth.
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise StreamError(_NOT_UTF8) from None


class TextDecoder:
    """A decoder of text that comes in pieces, which may end within a character."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")().decode

    def decode(self, piece: bytes, *, final: bool = False) -> str:
        """Return the text that is complete with this piece.

        Raises:
            StreamError: it is not UTF-8.
        """
        try:
            return self._decode(piece, final)
        except UnicodeDecodeError:
            raise StreamError(_NOT_UTF8) from None


class StreamAssembly:
    """The pieces of one stream, as they come in.

    Args:
        header: The header that announced the stream.

    Raises:
        StreamError: the stream is compressed in an unknown way.
    """

    def __init__(self, header: models.DataStream.Header) -> None:
        compression = header.compression
        if compression not in (_NONE, _DEFLATE_RAW):
            raise StreamError(f"it is compressed in an unknown way, {compression}")
        # The size of compressed content is known to its reader only.
        is_counted = compression == _NONE and header.HasField("total_length")
        self._announced = header.total_length if is_counted else None
        self._next_index = 0
        self._received = 0

    def add_chunk(self, chunk: models.DataStream.Chunk) -> bytes:
        """Add a chunk, and return its content.

        Raises:
            StreamError: it is not the next chunk, or more than was announced.
        """
        if chunk.chunk_index != self._next_index:
            raise StreamError(f"chunk {self._next_index} is missing: {chunk.chunk_index} came")
        self._next_index += 1
        return self.add(chunk.content)

    def add(self, piece: bytes) -> bytes:
        """Add a piece, from a chunk or from the header, and return its content.

        Raises:
            StreamError: it is more than was announced.
        """
        self._received += len(piece)
        if self._announced is not None:
            _check_size(self._received, self._announced, is_complete=False)
        return piece

    def finish(self, reason: str = "") -> None:
        """Check that every piece is there.

        Args:
            reason: The trailer's reason for a broken stream; empty when the stream is complete.

        Raises:
            StreamError: something is missing, or the sender gave up.
        """
        if reason:
            raise StreamError(f"its sender gave up: {reason}")
        if self._announced is not None:
            _check_size(self._received, self._announced)
