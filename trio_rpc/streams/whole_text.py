"""A text put together from the pieces in which it comes, in memory that is known at any moment."""

from __future__ import annotations

import io
import re
from typing import Final

from ..protocol.budgets import allocated_bytes

#: The characters of a piece that is kept as it is; smaller ones are written into a block.
_LARGE_PIECE: Final = 4 * 1024
#: The characters from which on a block is full.
_BLOCK: Final = 64 * 1024
#: The bytes of a `str` besides its characters.
_STR_BYTES: Final = 80

_TWO_BYTES: Final = re.compile("[\u0100-\U0010ffff]")
_FOUR_BYTES: Final = re.compile("[\U00010000-\U0010ffff]")


class WholeText:
    """The pieces of a text.

    A `str` has as many bytes for each character as its widest one needs. Pieces of different widths
    are kept apart, so that one wide character widens nothing but its own piece before the end.

    Attributes:
        held_bytes: The bytes that the pieces take.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._widest = 1
        # Small pieces of one width, which as objects would take many times their size
        self._block = io.StringIO()
        self._block_length = 0
        self._block_width = 1
        self.held_bytes = 0

    @property
    def whole_bytes(self) -> int:
        """The bytes that the whole text takes, as one `str`."""
        return _STR_BYTES + self._length * self._widest

    @property
    def needed_bytes(self) -> int:
        """The bytes that it takes to put it together: those of the pieces and of the whole."""
        return self.held_bytes + self.whole_bytes

    def add(self, piece: str) -> None:
        """Add the next piece."""
        width, length = _width_of(piece), len(piece)
        self._length += length
        self._widest = max(self._widest, width)
        if length >= _LARGE_PIECE:
            self._end_block()
            self._pieces.append(piece)
            self.held_bytes += allocated_bytes(length * width) + _STR_BYTES
            return
        if width != self._block_width or self._block_length >= _BLOCK:
            self._end_block()
            self._block_width = width
        self._block.write(piece)
        self._block_length += length
        # The block allocates a quarter more than it needs.
        self.held_bytes += length * width * 5 // 4

    def take(self) -> str:
        """Return the whole text, and hold nothing of it any more."""
        self._end_block()
        whole = "".join(self._pieces)
        self._pieces.clear()
        return whole

    def _end_block(self) -> None:
        if self._block_length:
            self._pieces.append(self._block.getvalue())
            self._block = io.StringIO()
            self._block_length = 0
            self.held_bytes += _STR_BYTES


def _width_of(text: str) -> int:
    """Return the bytes that a `str` has for each of its characters."""
    if text.isascii():
        return 1
    if _FOUR_BYTES.search(text):
        return 4
    return 2 if _TWO_BYTES.search(text) else 1
