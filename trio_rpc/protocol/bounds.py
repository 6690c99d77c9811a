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

#: The stream attribute with the id of the request that it is, or answers (S2).
REQUEST_ID_ATTRIBUTE: Final = "lk.rpc_request_id"
#: The most characters that are certain to fit into 256 bytes.
_SHORT_NAME: Final = MAX_NAME_BYTES // 4
#: In a packet of at most so many bytes, no list and no name but a request id can be too large.
SMALL_PACKET_BYTES: Final = MAX_NAME_BYTES
_SMALL_CALL_BYTES: Final = 1024


def check_bounds(packet: models.DataPacket, kind: str, size: int) -> None:
    """Refuse a packet with a name or list beyond its bound.

    Most packets come through here twice, at the server and at their receiver, so little is measured
    of a small one, and what is short in characters is not measured in bytes.

    Args:
        kind: The kind of its value.
        size: The size of the packet, in bytes.

    Raises:
        ValueError: something is too large; the text names it, its size and the limit.
    """
    is_small = size <= SMALL_PACKET_BYTES
    if not is_small:
        destinations = packet.destination_identities
        if len(destinations) != 1 or len(destinations[0]) > _SHORT_NAME:
            _check_destinations(destinations)
    if kind == "rpc_ack":
        request_id = packet.rpc_ack.request_id
    elif kind == "rpc_request":
        request_id = packet.rpc_request.id
    elif kind == "rpc_response":
        request_id = packet.rpc_response.request_id
    else:
        if not (is_small and kind == "user"):
            _check_content(packet, kind, size)
        return
    _check_text("a request id", request_id, MAX_REQUEST_ID_BYTES, at_least=1)


def _check_content(packet: models.DataPacket, kind: str, size: int) -> None:
    """Check a packet that is of a stream, or an application's."""
    if kind == "stream_header":
        _check_header(packet.stream_header, size)
    elif kind == "stream_chunk":
        _check_stream_id(packet.stream_chunk.stream_id)
    elif kind == "stream_trailer":
        trailer = packet.stream_trailer
        _check_stream_id(trailer.stream_id)
        _check_text("the reason of a trailer", trailer.reason, MAX_REASON_BYTES)
        _check_attributes(trailer.attributes)
    elif kind == "user":
        _check_text("a topic", packet.user.topic, MAX_NAME_BYTES)
        # Older SDKs name them in the user packet.
        _check_destinations(packet.user.destination_identities)


def _check_stream_id(stream_id: str) -> None:
    if not 0 < len(stream_id) <= _SHORT_NAME:
        _check_text("a stream id", stream_id, MAX_NAME_BYTES, at_least=1)


def _check_header(header: models.DataStream.Header, size: int) -> None:
    _check_stream_id(header.stream_id)
    request_id = header.attributes.get(REQUEST_ID_ATTRIBUTE)
    if request_id is not None:
        # Empty counts as missing (S8).
        if len(request_id) > MAX_REQUEST_ID_BYTES or not request_id.isascii():
            _check_text("a request id", request_id, MAX_REQUEST_ID_BYTES)
        if size <= _SMALL_CALL_BYTES:
            # A small call, of which nothing else is kept: the most frequent of all headers.
            return
    _check_text("a topic", header.topic, MAX_NAME_BYTES)
    _check_text("a MIME type", header.mime_type, MAX_NAME_BYTES)
    _check_attributes(header.attributes)
    _check_count("attachments", header.text_header.attached_stream_ids, MAX_ATTRIBUTES)


def _check_attributes(attributes: Mapping[str, str]) -> None:
    _check_count("attributes", attributes, MAX_ATTRIBUTES)
    for key, value in attributes.items():
        _check_text("the key of an attribute", key, MAX_NAME_BYTES, at_least=1)
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
