"""Attacks with messages and frames, on the server that parses them."""

from __future__ import annotations

from typing import Final

from livekit.protocol import models, rtc

from trio_rpc.links import Channel, Frame
from trio_rpc.links.frames import encode_frames

from .base import Attack, Attacker, websocket_frame

_BOTH: Final = ("websocket", "tcp")
_BATCH_BYTES: Final = 60_000
#: A message that is as large as the server takes.
_MESSAGE_BYTES: Final = 1_000_000


async def _repeat(attacker: Attacker, data: bytes) -> None:
    """Send the same over and over."""
    await attacker.keep_joined(lambda connection: connection.send(data))


def _times(data: bytes, size: int) -> bytes:
    return data * (size // len(data))


def _ping() -> bytes:
    """Return a frame with a signalling ping, the smallest that is answered."""
    body = rtc.SignalRequest(ping=0).SerializeToString()
    return encode_frames([Frame(Channel.SIGNAL, body)])


async def tiny_messages(attacker: Attacker) -> None:
    """Send messages of a few bytes back to back."""
    packet = models.DataPacket(user=models.UserPacket(payload=b"x"), destination_identities=["?"])
    await _repeat(attacker, _times(attacker.packets([packet]), _BATCH_BYTES))


async def messages_of_pings(attacker: Attacker) -> None:
    """Send messages of 1 MB that are full of pings."""
    await _repeat(attacker, attacker.message(_times(_ping(), _MESSAGE_BYTES)))


async def messages_of_nothing(attacker: Attacker) -> None:
    """Send messages of 1 MB that are full of the smallest fields, which mean nothing."""
    unknown = bytes([15 << 3 | 2, 0])
    await _repeat(attacker, attacker.message(_times(unknown, _MESSAGE_BYTES)))


async def websocket_pings(attacker: Attacker) -> None:
    """Send pings of WebSocket's own, each of which is to be answered."""
    await _repeat(attacker, _times(websocket_frame(9, b""), _BATCH_BYTES))


async def websocket_fragments(attacker: Attacker) -> None:
    """Send messages in fragments that are empty."""
    first, empty, last = b"\x02\x80" + bytes(4), b"\x00\x80" + bytes(4), b"\x80\x81" + bytes(5)
    await _repeat(attacker, first + _times(empty, _BATCH_BYTES) + last)


async def malformed_messages(attacker: Attacker) -> None:
    """Send messages that are not a run of frames."""
    await _repeat(attacker, _times(attacker.message(b"\xff"), _BATCH_BYTES))


async def malformed_packets(attacker: Attacker) -> None:
    """Send messages of frames whose packets cannot be parsed."""
    frames = encode_frames([Frame(Channel.RELIABLE, b"\xff")])
    await _repeat(attacker, _times(attacker.message(frames), _BATCH_BYTES))


ATTACKS: Final = {
    "tiny messages": Attack(tiny_messages, _BOTH),
    "messages of pings": Attack(messages_of_pings, _BOTH),
    "messages of nothing": Attack(messages_of_nothing, _BOTH),
    "WebSocket pings": Attack(websocket_pings),
    "WebSocket fragments": Attack(websocket_fragments),
    "malformed messages": Attack(malformed_messages, _BOTH),
    "malformed packets": Attack(malformed_packets, _BOTH),
}
