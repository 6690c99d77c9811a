"""The frames of messages, as a client sends them."""

from __future__ import annotations

from websockets.frames import Frame, Opcode


def encode_message(message: bytes) -> bytes:
    """Return the one frame of a binary message, masked, for a WebSocket without extensions."""
    return Frame(Opcode.BINARY, message).serialize(mask=True)
