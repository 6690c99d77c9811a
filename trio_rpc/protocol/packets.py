"""`DataPacket`: parsing any, and building user data, DTMF and transcriptions (P1, P4, P8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError
from livekit.protocol import models

from .bounds import check_bounds
from .limits import MAX_PACKET_BYTES

if TYPE_CHECKING:
    from ..data import SipDTMF, Transcription

_RELIABLE: Final = models.DataPacket.RELIABLE
_LOSSY: Final = models.DataPacket.LOSSY


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
    if kind is None:
        raise MalformedPacketError("a DataPacket without a value", packet.participant_identity)
    try:
        check_bounds(packet, kind, size)
    except ValueError as error:
        raise MalformedPacketError(str(error), packet.participant_identity) from None
    return packet, kind


def user_data(
    payload: bytes, *, reliable: bool, destinations: Sequence[str], topic: str
) -> models.DataPacket:
    """Return the packet of an application's data."""
    user = models.UserPacket(payload=payload)
    if topic:
        user.topic = topic
    kind = _RELIABLE if reliable else _LOSSY
    return models.DataPacket(kind=kind, destination_identities=destinations, user=user)


def sip_dtmf(dtmf: SipDTMF) -> models.DataPacket:
    """Return the packet of a key pressed on a telephone."""
    return models.DataPacket(sip_dtmf=models.SipDTMF(code=dtmf.code, digit=dtmf.digit))


def transcription(value: Transcription) -> models.DataPacket:
    """Return the packet of a transcription."""
    return models.DataPacket(
        transcription=models.Transcription(
            transcribed_participant_identity=value.participant_identity,
            track_id=value.track_sid,
            segments=[
                models.TranscriptionSegment(
                    id=segment.id,
                    text=segment.text,
                    start_time=segment.start_time,
                    end_time=segment.end_time,
                    final=segment.final,
                    language=segment.language,
                )
                for segment in value.segments
            ],
        )
    )
