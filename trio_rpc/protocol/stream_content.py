"""Cutting content into chunks (rules S4, S5 and S7)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

#: The largest chunk, and the largest packet with inline content (S4, S5).
CHUNK_BYTES: Final = 15_000
#: The characters of a text that are encoded at once.
_ENCODED_CHARACTERS: Final = 4 * CHUNK_BYTES
#: The most that a stream may hold unread, or return as a whole, unless the room says otherwise
#: (S7). A text takes it twice while it is put together, and has to fit in a peer's budget (B4).
DEFAULT_MAX_STREAM_BYTES: Final = 15_000_000


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
