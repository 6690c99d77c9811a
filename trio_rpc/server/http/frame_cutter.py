"""Cutting what comes over a WebSocket into pieces of a bounded number of frames (rule B7).

A read may hold tens of thousands of frames of a few bytes. Whoever parses them has to stop in
between, and for that has to know where a frame ends. No I/O.
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
    """Takes bytes as they come, and gives them back in pieces.

    It looks at the lengths of frames and at nothing else: whether they are valid is for the parser
    to say.
    """

    def __init__(self) -> None:
        # What has come, of which all before `_position` is given back
        self._data = b""
        self._position = 0
        # The frame that is cut: what was given back of its header, else what comes of its payload
        self._header = b""
        self._payload_left = 0

    def __bool__(self) -> bool:
        """Whether there is something to give back."""
        return self._position < len(self._data)

    def feed(self, data: bytes) -> None:
        """Take what has come, once all that came before was given back."""
        self._data = data
        self._position = 0

    def next_piece(self) -> bytes:
        """Give back what has come, up to the end of the 32nd frame that begins in it."""
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
