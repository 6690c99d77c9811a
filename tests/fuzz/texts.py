"""Parsers of single inputs: frames, records, packets, tokens, SDP, join requests."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from livekit.protocol import models, rtc

from trio_rpc import InvalidTokenError
from trio_rpc.links import LinkClosedError
from trio_rpc.links.frames import decode_frames, encode_frames
from trio_rpc.links.record_stream import RecordStream
from trio_rpc.links.records import PREAMBLE, ProtocolMismatchError
from trio_rpc.protocol.limits import MAX_PACKET_BYTES
from trio_rpc.protocol.packets import MalformedPacketError, parse_packet
from trio_rpc.protocol.rpc_messages import rpc_error
from trio_rpc.server.join_request import parse_join_request, parse_query
from trio_rpc.tokens import MAX_IDENTITY_BYTES, check_join, verify_token
from trio_rpc.webrtc.sdp import MAX_SDP_BYTES, complete_answer, data_only

from ..support.tokens import API_KEY, API_KEYS, API_SECRET
from ..webrtc.descriptions import OFFER
from .byte_streams import ScriptedByteStream
from .choices import pieces
from .target import Attack, require

# Frames and packets


def check_frames(data: bytes) -> None:
    """Decode a message of frames: their bodies are in it, and encoding and decoding keeps them."""
    try:
        frames = decode_frames(data)
    except ValueError:
        return
    require(frames, "a message without frames was taken")
    require(sum(len(each.body) for each in frames) <= len(data), "frames are larger than they came")
    require(decode_frames(encode_frames(frames)) == frames, "encoding changes the frames")


def check_packet(data: bytes) -> None:
    """Parse a packet: it is malformed, or has a value and can be sent on."""
    try:
        packet, _ = parse_packet(data)
    except MalformedPacketError:
        return
    require(len(data) <= MAX_PACKET_BYTES, "a packet over the limit was taken")
    require(packet.WhichOneof("value"), "a packet without a value was taken")
    require(models.DataPacket.FromString(packet.SerializeToString()) == packet, "it changed")
    if packet.HasField("rpc_response"):
        rpc_error(packet.rpc_response.error)


# Records

_MAX_RECORD: Final = 300


async def _records_of(parts: list[bytes]) -> tuple[list[object], str]:
    records = RecordStream(ScriptedByteStream.of(parts), _MAX_RECORD)
    received: list[object] = []
    try:
        while True:
            record = await records.receive_record()
            require(len(record.body) <= _MAX_RECORD, "a record over the limit was taken")
            received.append(record)
    except ProtocolMismatchError as error:
        return received, error.spoken
    except LinkClosedError as error:
        return received, str(error)


@asynccontextmanager
async def records() -> AsyncIterator[Attack]:
    """Receive records of a stream link; the input is what comes over its socket."""
    yield _attack_records


async def _attack_records(data: bytes) -> None:
    with_preamble = bool(data) and data[0] % 2 == 0
    before = [PREAMBLE] if with_preamble else []
    whole = await _records_of([*before, data[2:]])
    cut = await _records_of([*before, *pieces(data)])
    if whole[1] in ("HTTP", "TLS", "another protocol", "another version of trio-rpc"):
        # Known by the first bytes, of which more or less have come.
        require(not cut[0], "records came from another protocol")
        return
    require(whole == cut, f"in pieces came {cut}, as a whole {whole}")


# Tokens


def check_token(data: bytes) -> None:
    """Verify a token as text, or one whose parts are the input's, and whose signature is right."""
    text = data[1:].decode(errors="surrogateescape")
    if data[:1] == b"P":
        # A JWT of ours, but for what it says.
        text = _signed(json.dumps({"alg": "HS256", "typ": "JWT"}).encode(), data[1:])
    elif data[:1] == b"H":
        header, _, payload = data[1:].partition(b"\n")
        text = _signed(header, payload)
    try:
        claims = verify_token(text, API_KEYS)
    except InvalidTokenError as error:
        require(API_SECRET not in str(error), "the error reveals the secret")
        return
    require(data[:1] in (b"P", b"H"), "a token that nobody signed was taken")
    require(claims.api_key == API_KEY, "it is by another key")
    require(len(claims.identity.encode()) <= MAX_IDENTITY_BYTES, "the identity is too long")
    for each in (claims.name, claims.metadata, *claims.attributes, *claims.attributes.values()):
        each.encode()
    try:
        check_join(claims)
    except InvalidTokenError:
        return
    require(claims.identity, "a participant without an identity may join")


def _signed(header: bytes, payload: bytes) -> str:
    signed = b".".join(base64.urlsafe_b64encode(each).rstrip(b"=") for each in (header, payload))
    digest = hmac.digest(API_SECRET.encode(), signed, hashlib.sha256)
    return (signed + b"." + base64.urlsafe_b64encode(digest).rstrip(b"=")).decode()


# Descriptions of LiveKit's SDKs


def check_sdp(data: bytes) -> None:
    """Take the data channels out of a description, and answer all of it."""
    sdp = data.decode(errors="replace")
    try:
        data_offer = data_only(sdp)
    except ValueError:
        return
    # As aiortc reads it, for which there are many ends of a line.
    lines = data_offer.splitlines()
    require(not any(line.startswith("a=candidate:") for line in lines), "an address is left")
    require(sum(line.startswith("m=") for line in lines) == 1, "there is more than data channels")
    require(len(data_offer) <= 2 * len(sdp) + 100, "it has grown")
    try:
        answer = complete_answer(data_only(OFFER), sdp)
    except ValueError:
        return
    sections = sum(line.startswith("m=") for line in answer.split("\r\n"))
    require(len(answer) <= 8 * MAX_SDP_BYTES, f"an answer of {len(answer):,} characters")
    require(sections == sum(line.startswith("m=") for line in sdp.split("\n")), "a section is gone")


def check_join_request(data: bytes) -> None:
    """Read what a client says in the query with which it joins."""
    kind, body = data[:1], data[1:]
    compressions = rtc.WrappedJoinRequest.Compression
    text = body.decode(errors="replace")
    if kind in b"GNW":
        compression = compressions.GZIP if kind == b"G" else compressions.NONE
        content = gzip.compress(body) if kind == b"G" else body
        wrapped = rtc.WrappedJoinRequest(compression=compression, join_request=content)
        serialised = body if kind == b"W" else wrapped.SerializeToString()
        text = base64.urlsafe_b64encode(serialised).decode()
    elif kind == b"Q":
        names = ("version", "client_protocol", "capabilities", "reconnect")
        client = parse_query(dict(zip(names, text.split("&"), strict=False))).client
        require(client.ByteSize() < 1_000, "a client says too much of itself")
        return
    try:
        parameters = parse_join_request({"join_request": text})
    except ValueError:
        return
    require(parameters.client.ByteSize() < 1_000, "a client says too much of itself")
    if parameters.offer is not None:
        check_sdp(parameters.offer.sdp.encode())
