"""Frames to messages of bytes and back.

A message is a run of frames, each in protobuf's own wire format: a length-delimited field whose
number is the channel and whose content is the frame's body. So a message is what protobuf would
write for

    message Frames {
      repeated bytes signal = 1;    // SignalRequest or SignalResponse
      repeated bytes reliable = 2;  // DataPacket
      repeated bytes lossy = 3;     // DataPacket
      repeated bytes receipt = 4;   // the number of reliable frames that have arrived: a uint64
    }

except that the order of all frames is kept. Joining two messages gives a valid message, which makes
coalescing free; a field with another number is skipped, which leaves room for later.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from .base import Channel, Frame, new_frame

_LENGTH_DELIMITED: Final = 2
_RELIABLE: Final = Channel.RELIABLE
_CHANNELS: Final = {channel << 3 | _LENGTH_DELIMITED: channel for channel in Channel}
_MAX_VARINT_BYTES: Final = 5
#: The most that a frame takes beyond its body: one byte of tag and the length.
FRAME_OVERHEAD: Final = 1 + _MAX_VARINT_BYTES
#: The bodies whose headers are made once and for all: those of fewer bytes.
_SMALL: Final = 256
#: The text of the error about a message in which nothing is for us.
NO_FRAME: Final = "a message without a frame"


def _header(channel: Channel, length: int) -> bytes:
    header = bytearray((channel << 3 | _LENGTH_DELIMITED,))
    while length > 0x7F:
        header.append(length & 0x7F | 0x80)
        length >>= 7
    header.append(length)
    return bytes(header)


#: The headers of small frames, which most are, by channel and length.
_HEADERS: Final = {
    channel: [_header(channel, length) for length in range(_SMALL)] for channel in Channel
}


def encode_frames(frames: Iterable[Frame]) -> bytes:
    """Encode `frames` as one message."""
    return encode_and_count(frames)[0]


def encode_and_count(frames: Iterable[Frame]) -> tuple[bytes, int]:
    """Encode `frames` as one message; return it with the number of its reliable packets."""
    parts: list[bytes] = []
    packets = 0
    for channel, body in frames:
        if channel is _RELIABLE:
            packets += 1
        length = len(body)
        parts += (_HEADERS[channel][length] if length < _SMALL else _header(channel, length), body)
    return b"".join(parts), packets


def decode_frames(message: bytes) -> list[Frame]:
    """Decode all frames of a message, in order.

    Raises:
        ValueError: the message is not a run of frames, or holds none that we know.
    """
    frames, _ = decode_some_frames(message, 0, len(message))
    if not frames:
        raise ValueError(NO_FRAME)
    return frames


def packets_in(message: bytes) -> list[bytes]:
    """Return the reliable packets of a message, in order."""
    return [body for channel, body in decode_frames(message) if channel is _RELIABLE]


def decode_some_frames(message: bytes, position: int, limit: int) -> tuple[list[Frame], int]:
    """Decode the next frames of a message, so that a large one takes no long turn (B7).

    Args:
        position: The start: 0, or the value that the call before returned.
        limit: The fields to look at, unknown ones included.

    Returns:
        The frames, perhaps none, and where the next call begins; at the end of the message, its
        length.

    Raises:
        ValueError: the rest is not a run of frames.
    """
    frames: list[Frame] = []
    end = len(message)
    while position < end and limit > 0:
        limit -= 1
        tag = message[position]
        position += 1
        # Most lengths are of one byte or two.
        if position + 1 >= end:
            length, position = _decode_varint(message, position)
        elif (first := message[position]) < 0x80:
            length = first
            position += 1
        elif (second := message[position + 1]) < 0x80:
            length = first & 0x7F | second << 7
            position += 2
        else:
            length, position = _decode_varint(message, position)
        stop = position + length
        if stop > end:
            raise ValueError(f"a frame of {length:,} bytes in a message that ends before it")
        if tag in _CHANNELS:
            frames.append(new_frame((_CHANNELS[tag], message[position:stop])))
        elif tag & 0x87 != _LENGTH_DELIMITED or tag == _LENGTH_DELIMITED:  # There is no field 0.
            raise ValueError(f"a message with a field of tag {tag:#x} where a frame should be")
        position = stop
    return frames, position


def _decode_varint(message: bytes, position: int) -> tuple[int, int]:
    value = 0
    for count, byte in enumerate(message[position : position + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, position + count + 1
    raise ValueError("a message that ends, or goes astray, in the length of a frame")
