"""The packets that a room routes: their destinations, stamps and streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from livekit.protocol import models

from ...links import Channel
from ...protocol.rpc_messages import (
    CANCELLATION_TOPIC,
    REQUEST_TOPIC,
    RESPONSE_TOPIC,
    request_id_of,
)
from .directed_streams import DirectedStreams, OpenStream
from .member import Member, Routed

#: The kinds of packets that answer a request, which streams do too; and those of all calls.
ANSWERS: Final = frozenset({"rpc_ack", "rpc_response"})
RPC_KINDS: Final = frozenset({"rpc_request", *ANSWERS})
_STREAM_KINDS: Final = frozenset({"stream_header", "stream_chunk", "stream_trailer"})
_KIND_OF: Final = {
    Channel.RELIABLE: models.DataPacket.RELIABLE,
    Channel.LOSSY: models.DataPacket.LOSSY,
}

TO_NOBODY: Final = Routed(())


def stamped(packet: models.DataPacket, kind: str, sender: Member, channel: Channel) -> bytes:
    """Return a packet with its sender in place of what the packet says about it (P5)."""
    packet.participant_identity = sender.identity
    packet.participant_sid = sender.sid
    if kind == "user":
        # LiveKit's Rust SDK sets the opposite.
        packet.kind = _KIND_OF[channel]
        packet.user.participant_identity = sender.identity
        packet.user.participant_sid = sender.sid
    return packet.SerializeToString()


def destinations_of(
    packet: models.DataPacket, kind: str, streams: DirectedStreams
) -> Sequence[str] | None:
    """Return the identities that content is for: empty for everybody, None for nobody.

    Args:
        streams: The open streams of its sender.
    """
    named = packet.destination_identities
    if not named:
        match kind:
            case "user":
                # Older SDKs name them in the user packet.
                return packet.user.destination_identities
            case "stream_chunk":
                return streams.destinations(packet.stream_chunk.stream_id)
            case "stream_trailer":
                return streams.destinations(packet.stream_trailer.stream_id)
            case _:
                pass
    return named


def follow_stream(
    packet: models.DataPacket, kind: str, destinations: Sequence[str] | None, sender: Member
) -> OpenStream | None:
    """Record the packet of a stream.

    Returns:
        The open stream that the packet continues or ends, if it does.

    Raises:
        TooManyStreamsError: the stream must not begin.
    """
    if kind not in _STREAM_KINDS:
        return None
    streams, now = sender.directed_streams, sender.last_received
    if kind == "stream_chunk":
        return streams.on_chunk(packet.stream_chunk.stream_id, now)
    if kind == "stream_trailer":
        return streams.on_trailer(packet.stream_trailer.stream_id)
    if not packet.stream_header.HasField("inline_content"):
        # A stream with inline content ends with its header.
        streams.on_header(packet.stream_header.stream_id, destinations or (), now)
    return None


def begun_stream(packet: models.DataPacket, kind: str, sender: Member) -> OpenStream | None:
    """Return the stream that a packet has begun, unless it is whole already."""
    if kind != "stream_header" or packet.stream_header.HasField("inline_content"):
        return None
    return sender.directed_streams.get(packet.stream_header.stream_id)


def begins_answer(packet: models.DataPacket, kind: str) -> bool:
    """Whether a packet begins a response stream."""
    return kind == "stream_header" and packet.stream_header.topic == RESPONSE_TOPIC


def answered_id(packet: models.DataPacket, kind: str) -> str:
    """Return the id of the request that a packet answers; `""` for an ack or anything else."""
    if begins_answer(packet, kind):
        return request_id_of(packet.stream_header.attributes)
    return packet.rpc_response.request_id if kind == "rpc_response" else ""


def is_cancellation(packet: models.DataPacket, kind: str) -> bool:
    """Whether a packet cancels a call."""
    return kind == "user" and packet.user.topic == CANCELLATION_TOPIC


def request_id(packet: models.DataPacket, kind: str) -> str:
    """Return the id of the request that a packet is, or begins as a stream; otherwise `""`."""
    if kind == "rpc_request":
        return packet.rpc_request.id
    if kind == "stream_header" and packet.stream_header.topic == REQUEST_TOPIC:
        return request_id_of(packet.stream_header.attributes)
    return ""
