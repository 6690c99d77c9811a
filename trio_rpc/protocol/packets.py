"""`DataPacket` from values and back: LiveKit's protobuf, as rules P1 to P4 and P8 have it.

Everything that travels between participants is built and checked here; nothing here waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError
from livekit.protocol import models

from ..errors import RpcError
from .bounds import check_bounds
from .limits import (
    MAX_ERROR_MESSAGE_BYTES,
    MAX_PACKET_BYTES,
    MAX_PAYLOAD_BYTES,
    truncate_utf8,
)

if TYPE_CHECKING:
    from ..data import SipDTMF, Transcription

#: The version of RPC that an `RpcRequest` packet speaks (rule P3).
RPC_VERSION: Final = 1
#: The topic of our own data that says that a call was given up (docs/protocol.md).
CANCELLATION_TOPIC: Final = "trio_rpc.cancel"

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


def parse_packet(body: bytes) -> models.DataPacket:
    """Return the packet that `body` holds; its kind may be one that we don't handle.

    Raises:
        MalformedPacketError: too large, not a `DataPacket`, text that is not UTF-8, no value, or
            something in it is out of bounds (B2).
    """
    if len(body) > MAX_PACKET_BYTES:
        raise MalformedPacketError(
            f"a packet of {len(body):,} bytes, over the limit of {MAX_PACKET_BYTES:,}"
        )
    try:
        packet = models.DataPacket.FromString(body)
    except DecodeError:
        raise MalformedPacketError(f"{len(body):,} bytes that are not a DataPacket") from None
    kind = packet.WhichOneof("value")
    if kind is None:
        raise MalformedPacketError("a DataPacket without a value", packet.participant_identity)
    try:
        check_bounds(packet, kind, len(body))
    except ValueError as error:
        raise MalformedPacketError(str(error), packet.participant_identity) from None
    return packet


def rpc_request(
    destination: str, request_id: str, method: str, payload: str, timeout_ms: int
) -> models.DataPacket:
    """Return the packet of a call, as its caller sends it."""
    return models.DataPacket(
        destination_identities=[destination],
        rpc_request=models.RpcRequest(
            id=request_id,
            method=method,
            payload=payload,
            response_timeout_ms=timeout_ms,
            version=RPC_VERSION,
        ),
    )


def rpc_ack(destination: str, request_id: str) -> models.DataPacket:
    """Return the packet that acknowledges a request."""
    return models.DataPacket(
        destination_identities=[destination], rpc_ack=models.RpcAck(request_id=request_id)
    )


def rpc_response(destination: str, request_id: str, outcome: str | RpcError) -> models.DataPacket:
    """Return the packet of an outcome: a payload, or an error cut to its limits (rule A6)."""
    if isinstance(outcome, RpcError):
        response = models.RpcResponse(
            request_id=request_id,
            error=models.RpcError(
                code=outcome.code,
                message=truncate_utf8(outcome.message, MAX_ERROR_MESSAGE_BYTES),
                data=truncate_utf8(outcome.data or "", MAX_PAYLOAD_BYTES),
            ),
        )
    else:
        response = models.RpcResponse(request_id=request_id, payload=outcome)
    return models.DataPacket(destination_identities=[destination], rpc_response=response)


def rpc_outcome(response: models.RpcResponse) -> str | RpcError | None:
    """Return the outcome in an `RpcResponse`: a payload, an error (C14), or None for neither."""
    value = response.WhichOneof("value")
    if value == "payload":
        return response.payload
    if value == "error":
        error = response.error
        return RpcError(error.code, error.message, error.data or None)
    return None


def rpc_cancellation(destination: str, request_id: str) -> models.DataPacket:
    """Return the packet that cancels a call; for peers that announced that they understand it."""
    user = models.UserPacket(payload=request_id.encode(), topic=CANCELLATION_TOPIC)
    return models.DataPacket(destination_identities=[destination], user=user)


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
