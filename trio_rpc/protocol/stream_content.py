"""Cutting content into chunks, and deflating and inflating it (rules S4, S5 and S7)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

#: The largest chunk, and the largest packet with inline content (S4, S5).
CHUNK_BYTES: Final = 15_000
#: The characters of a text that are encoded at once.
_ENCODED_CHARACTERS: Final = 4 * CHUNK_BYTES
#: The most that a stream may hold unread, or return as a whole, unless the room says otherwise
#: (S7). A text takes it twice while it is put together, and has to fit in a peer's budget (B4).
DEFAULT_MAX_STREAM_BYTES: Final = 15_000_000
#: The `wbits` that make zlib write deflate without a header of its own.
_RAW: Final = -zlib.MAX_WBITS
#: A third of the time of zlib's default, level 6, for a tenth to a fifth more bytes.
_LEVEL: Final = 2


def split_bytes(content: bytes) -> Iterator[bytes]:
    """Yield the chunks of `content`."""
    for start in range(0, len(content), CHUNK_BYTES):
        yield content[start : start + CHUNK_BYTES]


def split_text(text: str) -> Iterator[bytes]:
    """Yield the chunks of `text` in UTF-8, without cutting a character in two.

    It is encoded as the chunks are taken: a large text is not held a second time.
    """
    rest = b""
    for start in range(0, len(text), _ENCODED_CHARACTERS):
        content = rest + text[start : start + _ENCODED_CHARACTERS].encode()
        begin = 0
        while len(content) - begin > CHUNK_BYTES:
            end = begin + CHUNK_BYTES
            # Bytes of the form 10xxxxxx continue a character.
            while content[end] & 0xC0 == 0x80:
                end -= 1
            yield content[begin:end]
            begin = end
        rest = content[begin:]
    if rest:
        yield rest


def deflate(pieces: Iterable[bytes]) -> bytes:
    """Compress content, given in pieces, as deflate-raw."""
    compressor = zlib.compressobj(_LEVEL, wbits=_RAW)
    return b"".join([*map(compressor.compress, pieces), compressor.flush()])


class InflateError(Exception):
    """Received content that is not deflate-raw, or goes on after its end."""


class Inflater:
    """A decompressor whose every step returns at most as much as its user allows.

    Attributes:
        needs_input: Whether all that was fed is inflated, and returned.
    """

    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(wbits=_RAW)
        self._compressed = b""
        self.needs_input = True

    @property
    def is_complete(self) -> bool:
        """Whether the end of the compressed content has come."""
        return self._decompressor.eof

    def feed(self, piece: bytes) -> None:
        """Feed more input, where that is needed."""
        self._compressed = piece

    def inflate(self, max_bytes: int) -> bytes:
        """Return the next content, at most `max_bytes` of it; less when it needs more input.

        Raises:
            InflateError: it is not deflate-raw, or goes on after the end.
        """
        try:
            content = self._decompressor.decompress(self._compressed, max_bytes)
        except zlib.error as error:
            raise InflateError(f"not deflate-raw: {error}") from None
        self._compressed = self._decompressor.unconsumed_tail
        if self._decompressor.unused_data:
            raise InflateError("there is something after the end of the compressed content")
        self.needs_input = len(content) < max_bytes
        return content
