"""Cutting the bytes of a WebSocket into pieces with a bounded number of frames (rule B7).

A read may hold tens of thousands of frames of a few bytes. A parser has to stop in between, and
for that has to know the end of a frame. No I/O.
"""

from __future__ import annotations

from typing import Final

#: The frames that begin in one piece, at the most.
MAX_FRAMES: Final = 32
#: Two bytes, a length of eight and a mask of four.
_MAX_HEADER_BYTES: Final = 14
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
#: The bytes of a length that does not fit the header's own seven bits, by what these say.
_LONG_LENGTHS: Final = {126: 2, 127: 8}
#: The size of a header by its second byte.
_HEADER_SIZES: Final = [
    2 + _LONG_LENGTHS.get(byte & _LENGTH, 0) + (4 if byte & _MASKED else 0) for byte in range(256)
]


class FrameCutter:
    """A cutter that takes bytes as they come, and returns them in pieces.

    It reads the lengths of frames and nothing else: the parser checks whether frames are valid.
    """

    def __init__(self) -> None:
        # The bytes that were fed; those before `_position` are returned already
        self._data = b""
        self._position = 0
        # The frame that is cut: the returned part of its header, else the rest of its payload
        self._header = b""
        self._payload_left = 0

    def __bool__(self) -> bool:
        """Whether there is something left to return."""
        return self._position < len(self._data)

    def feed(self, data: bytes) -> None:
        """Take the next bytes, once all bytes before them were returned."""
        self._data = data
        self._position = 0

    def next_piece(self) -> bytes:
        """Return the next bytes, up to the end of the 32nd frame that begins in them."""
        data, end = self._data, len(self._data)
        start = position = self._position
        frames = 0
        while position < end:
            if self._payload_left:
                length = min(self._payload_left, end - position)
                self._payload_left -= length
                position += length
                continue
            if frames == MAX_FRAMES:
                break
            frames += 1
            known = len(self._header)
            header = self._header + data[position : position + _MAX_HEADER_BYTES - known]
            # Two bytes tell how many there are.
            size = _HEADER_SIZES[header[1]] if len(header) >= 2 else 2
            if len(header) < size:
                self._header = header
                position = end
                break
            self._header = b""
            self._payload_left = _payload_size(header)
            position += size - known
        self._position = position
        return data[start:position]


def _payload_size(header: bytes) -> int:
    short = header[1] & _LENGTH
    if short not in _LONG_LENGTHS:
        return short
    return int.from_bytes(header[2 : 2 + _LONG_LENGTHS[short]])
