"""Bounds on the names and lists in a packet, which receivers keep or send back (rule B2)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sized
from typing import Final

from livekit.protocol import models

from .limits import (
    MAX_ATTRIBUTE_BYTES,
    MAX_ATTRIBUTES,
    MAX_DESTINATIONS,
    MAX_IDENTITY_BYTES,
    MAX_NAME_BYTES,
    MAX_REASON_BYTES,
    MAX_REQUEST_ID_BYTES,
    utf8_length,
)

#: The attribute of a stream that says which request it is, or answers (S2).
REQUEST_ID_ATTRIBUTE: Final = "lk.rpc_request_id"


def check_bounds(packet: models.DataPacket, kind: str) -> None:
    """Refuse a packet in which something is larger than it may be.

    Args:
        kind: Of its value.

    Raises:
        ValueError: something is; the text says what, how large it is, and what the limit is.
    """
    destinations = packet.destination_identities
    # Mostly there is one, and too short to be too long.
    if len(destinations) != 1 or len(destinations[0]) > MAX_IDENTITY_BYTES // 4:
        _check_destinations(destinations)
    match kind:
        case "rpc_request":
            _check_text("a request id", packet.rpc_request.id, MAX_REQUEST_ID_BYTES, at_least=1)
        case "rpc_ack":
            _check_text("a request id", packet.rpc_ack.request_id, MAX_REQUEST_ID_BYTES, at_least=1)
        case "rpc_response":
            request_id = packet.rpc_response.request_id
            _check_text("a request id", request_id, MAX_REQUEST_ID_BYTES, at_least=1)
        case "stream_chunk":
            _check_text("a stream id", packet.stream_chunk.stream_id, MAX_NAME_BYTES, at_least=1)
        case "stream_header":
            _check_header(packet.stream_header)
        case "stream_trailer":
            trailer = packet.stream_trailer
            _check_text("a stream id", trailer.stream_id, MAX_NAME_BYTES, at_least=1)
            _check_text("the reason of a trailer", trailer.reason, MAX_REASON_BYTES)
            _check_attributes(trailer.attributes)
        case "user":
            _check_text("a topic", packet.user.topic, MAX_NAME_BYTES)
            # Older SDKs name them inside of the data.
            _check_destinations(packet.user.destination_identities)
        case _:
            pass


def _check_header(header: models.DataStream.Header) -> None:
    _check_text("a stream id", header.stream_id, MAX_NAME_BYTES, at_least=1)
    _check_text("a topic", header.topic, MAX_NAME_BYTES)
    _check_text("a MIME type", header.mime_type, MAX_NAME_BYTES)
    if header.attributes:
        _check_attributes(header.attributes)
    _check_count("attachments", header.text_header.attached_stream_ids, MAX_ATTRIBUTES)


def _check_attributes(attributes: Mapping[str, str]) -> None:
    _check_count("attributes", attributes, MAX_ATTRIBUTES)
    for key, value in attributes.items():
        _check_text("the key of an attribute", key, MAX_NAME_BYTES, at_least=1)
        if key == REQUEST_ID_ATTRIBUTE:
            _check_text("a request id", value, MAX_REQUEST_ID_BYTES)
        else:
            _check_text("the value of an attribute", value, MAX_ATTRIBUTE_BYTES)


def _check_destinations(destinations: Collection[str]) -> None:
    _check_count("destinations", destinations, MAX_DESTINATIONS)
    for identity in destinations:
        _check_text("a destination", identity, MAX_IDENTITY_BYTES)


def _check_count(what: str, things: Sized, limit: int) -> None:
    if len(things) > limit:
        raise ValueError(f"{len(things):,} {what}, over the limit of {limit:,}")


def _check_text(what: str, text: str, limit: int, *, at_least: int = 0) -> None:
    size = utf8_length(text)
    if not at_least <= size <= limit:
        raise ValueError(f"{what} of {size:,} bytes: it has {at_least} to {limit:,}")
