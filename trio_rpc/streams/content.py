"""Cutting content into chunks, and deflating and inflating it (rules S4, S5 and S7)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

#: What a chunk holds at the most, and a whole packet with inline content (S4, S5).
CHUNK_BYTES: Final = 15_000
#: What a stream may hold unread, or be read to at once, unless the room says otherwise (S7).
DEFAULT_MAX_STREAM_BYTES: Final = 16 * 1024 * 1024
#: zlib's word for deflate without a header of zlib's own.
_RAW: Final = -zlib.MAX_WBITS
#: Takes a third of the time of zlib's usual level 6, for a tenth to a fifth more bytes.
_LEVEL: Final = 2


def split_bytes(content: bytes) -> Iterator[bytes]:
    """Chunks of `content`."""
    for start in range(0, len(content), CHUNK_BYTES):
        yield content[start : start + CHUNK_BYTES]


def split_utf8(content: bytes) -> Iterator[bytes]:
    """Chunks of `content`, which is UTF-8, that cut no character in two."""
    start, end = 0, len(content)
    while start < end:
        stop = min(start + CHUNK_BYTES, end)
        # Bytes of the form 10xxxxxx continue a character.
        while stop < end and content[stop] & 0xC0 == 0x80:
            stop -= 1
        yield content[start:stop]
        start = stop


def deflate(content: bytes) -> bytes:
    """`content` compressed, as deflate-raw."""
    compressor = zlib.compressobj(_LEVEL, wbits=_RAW)
    return compressor.compress(content) + compressor.flush()


class InflateError(Exception):
    """What was received is not deflated, or inflates to more than it may."""


class Inflater:
    """Inflates a stream piece by piece, never to more at once than it may hold."""

    def __init__(self, max_bytes: int) -> None:
        self._decompressor = zlib.decompressobj(wbits=_RAW)
        self._max_bytes = max_bytes

    def inflate(self, piece: bytes) -> bytes:
        """What `piece` adds to the content.

        Raises:
            InflateError: it is not deflate, goes on after the end, or becomes too large.
        """
        try:
            content = self._decompressor.decompress(piece, self._max_bytes + 1)
        except zlib.error as error:
            raise InflateError(f"not deflate-raw: {error}") from None
        if len(content) > self._max_bytes:
            raise InflateError(f"it inflates to more than {self._max_bytes:,} bytes")
        if self._decompressor.unused_data:
            raise InflateError("there is something after the end of the compressed content")
        return content

    def finish(self) -> None:
        """Make sure that nothing is missing.

        Raises:
            InflateError: the compressed content has no end.
        """
        if not self._decompressor.eof:
            raise InflateError("the compressed content has no end")
