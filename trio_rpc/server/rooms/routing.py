"""The packets that a room routes: their destinations, stamps and streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from livekit.protocol import models

from ...links import Channel, Frame
from ...protocol.limits import MAX_PACKET_BYTES
from ...protocol.packets import MalformedPacketError
from ...protocol.rpc_messages import (
    CANCELLATION_TOPIC,
    REQUEST_TOPIC,
    RESPONSE_TOPIC,
    request_id_of,
)
from .backlog import Cause
from .directed_streams import DirectedStreams, OpenStream
from .member import Member

_RPC_KINDS: Final = frozenset({"rpc_request", "rpc_ack", "rpc_response"})
_STREAM_KINDS: Final = frozenset({"stream_header", "stream_chunk", "stream_trailer"})
_KIND_OF: Final = {
    Channel.RELIABLE: models.DataPacket.RELIABLE,
    Channel.LOSSY: models.DataPacket.LOSSY,
}


class Routed(NamedTuple):
    """The outcome of routing a packet.

    Attributes:
        receivers: The members for whom it was queued.
        behind: Those of them whose queues are more than half full: its cause may have to wait for
            them (B8).
        held: The members without room for it: its cause has to wait, and offer it again.
        frame: The frame to offer to `held`.
        brief: The cause, if the packet belongs to a call, for which the wait is brief; None for any
            other packet.
        answer: The stream that the packet belongs to, if that is an answer.
    """

    receivers: Sequence[Member]
    behind: Sequence[Member] = ()
    held: Sequence[Member] = ()
    frame: Frame | None = None
    brief: Cause | None = None
    answer: OpenStream | None = None


TO_NOBODY: Final = Routed(())


def stamp(
    packet: models.DataPacket, kind: str | None, body: bytes, sender: Member, channel: Channel
) -> Frame:
    """Return the packet of `body`, stamped with its sender, for which the server vouches (P5).

    Raises:
        MalformedPacketError: the stamped packet is too large (P7).
    """
    frame = Frame(channel, _stamped(packet, kind, body, sender, channel))
    if len(frame.body) > MAX_PACKET_BYTES:
        raise MalformedPacketError(
            f"a packet of {len(frame.body):,} bytes once stamped, over the limit of "
            f"{MAX_PACKET_BYTES:,}"
        )
    return frame


def _stamped(
    packet: models.DataPacket, kind: str | None, body: bytes, sender: Member, channel: Channel
) -> bytes:
    if kind == "user":
        # LiveKit's Rust SDK sets the opposite.
        packet.kind = _KIND_OF[channel]
        packet.user.participant_identity = sender.identity
        packet.user.participant_sid = sender.sid
    elif not (packet.participant_identity or packet.participant_sid):
        # Fields may come in any order: appending the stamp saves serialising the packet again.
        return body + sender.stamp
    packet.participant_identity = sender.identity
    packet.participant_sid = sender.sid
    return packet.SerializeToString()


def destinations_of(
    packet: models.DataPacket, kind: str | None, streams: DirectedStreams
) -> Sequence[str] | None:
    """Return the identities that a packet is for: empty for everybody, None for nobody.

    Args:
        streams: The open streams of its sender.

    Raises:
        MalformedPacketError: the packet names none or several where one is required (P4).
    """
    named = packet.destination_identities
    if kind in _RPC_KINDS:
        if len(named) != 1:
            raise MalformedPacketError(
                f"an {kind} that names {len(named)} destinations: it names exactly one (P4)"
            )
    elif not named:
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
    packet: models.DataPacket, kind: str | None, destinations: Sequence[str] | None, sender: Member
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


def begun_stream(packet: models.DataPacket, kind: str | None, sender: Member) -> OpenStream | None:
    """Return the stream that a packet has begun, unless it is whole already."""
    if kind != "stream_header" or packet.stream_header.HasField("inline_content"):
        return None
    return sender.directed_streams.get(packet.stream_header.stream_id)


def is_answer(packet: models.DataPacket, kind: str | None) -> bool:
    """Whether a packet is an ack or response, or begins a response stream."""
    if kind == "stream_header":
        return packet.stream_header.topic == RESPONSE_TOPIC
    return kind in ("rpc_ack", "rpc_response")


def answered_id(packet: models.DataPacket, kind: str | None) -> str:
    """Return the id of the request that a packet answers; `""` for an ack or anything else."""
    if kind == "stream_header" and packet.stream_header.topic == RESPONSE_TOPIC:
        return request_id_of(packet.stream_header.attributes)
    return packet.rpc_response.request_id if kind == "rpc_response" else ""


def is_cancellation(packet: models.DataPacket, kind: str | None) -> bool:
    """Whether a packet cancels a call."""
    return kind == "user" and packet.user.topic == CANCELLATION_TOPIC


def request_id(packet: models.DataPacket, kind: str | None) -> str:
    """Return the id of the request that a packet is, or begins as a stream; otherwise `""`."""
    if kind == "rpc_request":
        return packet.rpc_request.id
    if kind == "stream_header" and packet.stream_header.topic == REQUEST_TOPIC:
        return request_id_of(packet.stream_header.attributes)
    return ""
