"""Decisions made from the bytes of an input, the same everywhere."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

_NUMBERS: Final = (0, 1, 2, 127, 128, 1_000, 65_535, 2**31 - 1, 2**31, 2**32 - 1)
#: A length of this and more stands for content that is made up: large ones need no large input.
_MADE_UP: Final = 224
_MADE_UP_STEP: Final = 2_048


class Choices:
    """A source of choices: bytes from the front; the first choice when none are left."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def __bool__(self) -> bool:
        return self._position < len(self._data)

    def byte(self) -> int:
        """Return the next byte."""
        if not self:
            return 0
        self._position += 1
        return self._data[self._position - 1]

    def take(self, count: int) -> bytes:
        """Return the next bytes, or as many as there are."""
        start = self._position
        self._position = min(start + count, len(self._data))
        return self._data[start : self._position]

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self._data))

    def below(self, limit: int) -> int:
        """Return a number from 0 up to a limit of at most 256."""
        return self.byte() % limit

    def flag(self) -> bool:
        """Return yes or no."""
        return bool(self.byte() & 1)

    def one_of(self, options: Sequence[T]) -> T:
        """Return one of at most 256 options."""
        return options[self.below(len(options))]

    def number(self) -> int:
        """Return a number of 32 bits, often one at which something changes."""
        which = self.byte()
        if which < 128:
            return which
        if which < 192:
            return _NUMBERS[which % len(_NUMBERS)]
        return int.from_bytes(self.take(4), "big")

    def content(self) -> bytes:
        """Return bytes: a few of the input, or up to 64 KB that are made up."""
        length = self.byte()
        if length < _MADE_UP:
            return self.take(length)
        return bytes([self.byte()]) * ((length - _MADE_UP + 1) * _MADE_UP_STEP)

    def text(self) -> str:
        """Return text that UTF-8 can carry."""
        return self.content().decode(errors="replace")

    def deflated(self) -> bytes:
        """Return deflate-raw: right, cut off, with something after it, garbage, or a bomb."""
        content = self.content()
        form = self.below(6)
        if form == 5:
            content *= 1 + self.below(64)
        compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        deflated = compressor.compress(content) + compressor.flush()
        match form:
            case 2:
                return deflated[: self.byte()]
            case 3:
                return deflated + self.content()
            case 4:
                return content
            case _:
                return deflated


def pieces(data: bytes) -> Iterator[bytes]:
    """Cut what follows the first two bytes in pieces, whose sizes those say."""
    sizes = [1 + size for size in data[:2]] or [1]
    whole, start, turn = data[2:], 0, 0
    if data[:1] == b"\xff":
        # Mostly it all comes at once.
        sizes = [len(whole) or 1]
    while start < len(whole):
        size = sizes[turn % len(sizes)]
        yield whole[start : start + size]
        start, turn = start + size, turn + 1


def messages(data: bytes) -> Iterator[bytes]:
    """Cut an input in messages, each with its length in two bytes before it."""
    position = 0
    while position < len(data):
        length = int.from_bytes(data[position : position + 2], "big")
        yield data[position + 2 : position + 2 + length]
        position += 2 + length


def joined(parts: Sequence[bytes]) -> bytes:
    """Return the input that `messages` cuts in these."""
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)
