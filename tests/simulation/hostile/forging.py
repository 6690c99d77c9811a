"""The packets and messages of adversaries."""

from __future__ import annotations

import zlib
from functools import cache
from typing import Any, Final

from livekit.protocol import models

from trio_rpc.links import Channel, Frame
from trio_rpc.links.frames import encode_frames

DataStream = models.DataStream

REQUEST_TOPIC: Final = "lk.rpc_request"
RESPONSE_TOPIC: Final = "lk.rpc_response"
CANCELLATION_TOPIC: Final = "trio_rpc.cancel"
#: Topics for which honest participants have handlers.
TEXT_TOPIC: Final = "notes"
BYTES_TOPIC: Final = "files"
#: The method that honest participants answer to.
METHOD: Final = "do"
#: The longest timeout that a request can carry: 49 days.
MAX_TIMEOUT_MS: Final = 2**32 - 1
DEFLATE: Final = DataStream.CompressionType.DEFLATE_RAW


def packet(*destinations: str, **value: Any) -> models.DataPacket:
    """Return a packet without a number."""
    return models.DataPacket(destination_identities=destinations, **value)


# Calls


def request(
    callee: str,
    request_id: str,
    payload: str = "",
    *,
    method: str = METHOD,
    timeout_ms: int = 5_000,
    version: int = 1,
) -> models.DataPacket:
    """Return a request of version 1."""
    return packet(
        callee,
        rpc_request=models.RpcRequest(
            id=request_id,
            method=method,
            payload=payload,
            response_timeout_ms=timeout_ms,
            version=version,
        ),
    )


def request_attributes(
    request_id: str, method: str = METHOD, timeout_ms: object = 5_000, version: object = 2
) -> dict[str, str]:
    """Return what the header of a request of version 2 says."""
    return {
        "lk.rpc_request_id": request_id,
        "lk.rpc_request_method": method,
        "lk.rpc_request_response_timeout_ms": str(timeout_ms),
        "lk.rpc_request_version": str(version),
    }


def stream_request(
    callee: str,
    request_id: str,
    content: bytes | None = b"",
    *,
    method: str = METHOD,
    timeout_ms: object = 5_000,
    **fields: Any,
) -> models.DataPacket:
    """Return the header of a request of version 2; without content, chunks are to follow."""
    return header(
        callee,
        stream_id=fields.pop("stream_id", request_id),
        topic=REQUEST_TOPIC,
        attributes=request_attributes(request_id, method, timeout_ms),
        content=content,
        **fields,
    )


def ack(caller: str, request_id: str) -> models.DataPacket:
    """Return an ack."""
    return packet(caller, rpc_ack=models.RpcAck(request_id=request_id))


def response(caller: str, request_id: str, text: str) -> models.DataPacket:
    """Return a response of version 1."""
    return packet(caller, rpc_response=models.RpcResponse(request_id=request_id, payload=text))


def error_response(
    caller: str, request_id: str, code: int, message: str, data: str = ""
) -> models.DataPacket:
    """Return a response that is an error."""
    error = models.RpcError(code=code, message=message, data=data)
    return packet(caller, rpc_response=models.RpcResponse(request_id=request_id, error=error))


def stream_response(
    caller: str, request_id: str, content: bytes | None, **fields: Any
) -> models.DataPacket:
    """Return the header of a response of version 2; without content, chunks are to follow."""
    return header(
        caller,
        stream_id=fields.pop("stream_id", request_id),
        topic=RESPONSE_TOPIC,
        attributes={"lk.rpc_request_id": request_id},
        content=content,
        **fields,
    )


def cancellation(callee: str, request_id: str | bytes) -> models.DataPacket:
    """Return what tells a callee that its caller has given up."""
    payload = request_id.encode() if isinstance(request_id, str) else request_id
    return user(payload, callee, topic=CANCELLATION_TOPIC)


# Streams and data


def header(
    *destinations: str, stream_id: str, topic: str, content: bytes | None = None, **fields: Any
) -> models.DataPacket:
    """Return the header of a text, or with `byte_header` of bytes."""
    if content is not None:
        fields["inline_content"] = content
    if "byte_header" not in fields:
        fields["text_header"] = DataStream.TextHeader()
    return packet(
        *destinations, stream_header=DataStream.Header(stream_id=stream_id, topic=topic, **fields)
    )


def chunk(
    *destinations: str, stream_id: str, index: int, content: bytes = b"chunk"
) -> models.DataPacket:
    """Return a chunk of a stream."""
    return packet(
        *destinations,
        stream_chunk=DataStream.Chunk(stream_id=stream_id, chunk_index=index, content=content),
    )


def trailer(*destinations: str, stream_id: str, reason: str = "") -> models.DataPacket:
    """Return the trailer of a stream."""
    return packet(
        *destinations, stream_trailer=DataStream.Trailer(stream_id=stream_id, reason=reason)
    )


def user(payload: bytes, *destinations: str, **fields: Any) -> models.DataPacket:
    """Return data of an application's."""
    return packet(*destinations, user=models.UserPacket(payload=payload, **fields))


@cache
def deflated(content: bytes) -> bytes:
    """Return some content compressed."""
    compressor = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return compressor.compress(content) + compressor.flush()


@cache
def bomb(mebibytes: int, words: str = "") -> bytes:
    """Return a kibibyte for each mebibyte that it inflates to.

    Args:
        words: How the content begins.
    """
    return deflated(words.encode().ljust(mebibytes * 2**20))


# Messages


@cache
def tiny_frames(body: bytes, count: int) -> bytes:
    """Return one message of many frames that say next to nothing."""
    return encode_frames([Frame(Channel.SIGNAL, body)]) * count
