"""Parsing a `DataPacket` (P1, P4, P8)."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from livekit.protocol import models

from .bounds import SMALL_PACKET_BYTES, check_bounds
from .limits import MAX_PACKET_BYTES, MAX_REQUEST_ID_BYTES


class MalformedPacketError(Exception):
    """Bytes that are not a valid packet.

    Attributes:
        sender: The identity of its sender, where that can be read; the server vouches for it (P5).
    """

    def __init__(self, message: str, sender: str = "") -> None:
        super().__init__(message)
        self.sender = sender


def parse_packet(body: bytes) -> tuple[models.DataPacket, str]:
    """Return the packet that `body` holds, and the kind of its value, perhaps an unknown one.

    Raises:
        MalformedPacketError: the packet is too large, not a `DataPacket`, has text that is not
            UTF-8 or no value, or something in it is out of bounds (B2).
    """
    size = len(body)
    if size > MAX_PACKET_BYTES:
        raise MalformedPacketError(
            f"a packet of {size:,} bytes, over the limit of {MAX_PACKET_BYTES:,}"
        )
    try:
        packet = models.DataPacket.FromString(body)
    except DecodeError:
        raise MalformedPacketError(f"{size:,} bytes that are not a DataPacket") from None
    kind = packet.WhichOneof("value")
    if kind == "rpc_request":
        request_id = packet.rpc_request.id
    elif kind == "rpc_ack":
        request_id = packet.rpc_ack.request_id
    elif kind == "rpc_response":
        request_id = packet.rpc_response.request_id
    elif kind is None:
        raise MalformedPacketError("a DataPacket without a value", packet.participant_identity)
    else:
        request_id = ""
    # In a small packet of a call, only the id may be out of bounds: an empty one, or one that is
    # too long, for which there is no room in a tiny packet. ASCII takes a byte for each character.
    if request_id and (
        size <= MAX_REQUEST_ID_BYTES
        or (
            size <= SMALL_PACKET_BYTES
            and len(request_id) <= MAX_REQUEST_ID_BYTES
            and request_id.isascii()
        )
    ):
        return packet, kind
    try:
        check_bounds(packet, kind, size)
    except ValueError as error:
        raise MalformedPacketError(str(error), packet.participant_identity) from None
    return packet, kind
