"""RPC on the wire: version 1 in packets, version 2 in data streams.

Requests and responses are packets of their own in version 1 (rule P3), and text streams in
version 2 (rules S1, S2 and S8). Acks are packets in both. So are cancellations, which go to
participants that announced that they understand them (docs/protocol.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import evolve, frozen
from livekit.protocol import models

from ..errors import RpcError
from .bounds import REQUEST_ID_ATTRIBUTE
from .limits import MAX_ERROR_MESSAGE_BYTES, MAX_PAYLOAD_BYTES, MAX_TIMEOUT_MS, truncate_utf8
from .stream_info import TextStreamInfo

#: The version of RPC that an `RpcRequest` packet speaks (rule P3).
RPC_VERSION: Final = 1
#: The topic of the user data that cancels a call (docs/protocol.md).
CANCELLATION_TOPIC: Final = "trio_rpc.cancel"

REQUEST_TOPIC: Final = "lk.rpc_request"
RESPONSE_TOPIC: Final = "lk.rpc_response"
#: The version that a request in a stream speaks.
STREAM_RPC_VERSION: Final = 2
_VERSION_TEXT: Final = str(STREAM_RPC_VERSION)

_ID: Final = REQUEST_ID_ATTRIBUTE
_METHOD: Final = "lk.rpc_request_method"
_TIMEOUT: Final = "lk.rpc_request_response_timeout_ms"
_VERSION: Final = "lk.rpc_request_version"
#: The SID of the callee's session that a repeated request was sent to first (L8); ours alone.
_AGAIN: Final = "trio_rpc.again"
#: The kinds of streams that a caller accepts besides the response (T8, T9); ours alone.
_ACCEPTS: Final = "trio_rpc.accepts"


def rpc_request(
    destination: str, request_id: str, method: str, payload: str, timeout_ms: int
) -> models.DataPacket:
    """Return the packet of a request."""
    # Written in place: a message that is made apart is copied, which takes twice as long.
    packet = models.DataPacket()
    packet.destination_identities.append(destination)
    request = packet.rpc_request
    request.id = request_id
    request.method = method
    request.payload = payload
    request.response_timeout_ms = timeout_ms
    request.version = RPC_VERSION
    return packet


def rpc_ack(destination: str, request_id: str) -> models.DataPacket:
    """Return the packet that acknowledges a request."""
    packet = models.DataPacket()
    packet.destination_identities.append(destination)
    packet.rpc_ack.request_id = request_id
    return packet


def rpc_response(destination: str, request_id: str, outcome: str | RpcError) -> models.DataPacket:
    """Return the packet of an outcome: a payload, or an error cut to its limits (rule A6)."""
    packet = models.DataPacket()
    packet.destination_identities.append(destination)
    response = packet.rpc_response
    response.request_id = request_id
    if isinstance(outcome, RpcError):
        error = response.error
        error.code = outcome.code
        error.message = truncate_utf8(outcome.message, MAX_ERROR_MESSAGE_BYTES)
        error.data = truncate_utf8(outcome.data or "", MAX_PAYLOAD_BYTES)
    else:
        response.payload = outcome
    return packet


def rpc_error(error: models.RpcError) -> RpcError:
    """Return the error in a response (C14)."""
    return RpcError(error.code, error.message, error.data or None)


def rpc_cancellation(destination: str, request_id: str) -> models.DataPacket:
    """Return the packet that cancels a call; for peers that announced that they understand it."""
    user = models.UserPacket(payload=request_id.encode(), topic=CANCELLATION_TOPIC)
    return models.DataPacket(destination_identities=[destination], user=user)


@frozen
class StreamRequest:
    """A request, as the attributes of its stream describe it."""

    id: str
    method: str
    timeout_ms: int
    version: int


def request_info(
    request_id: str, method: str, timeout_ms: int, size: int, accepts: str = ""
) -> TextStreamInfo:
    """Return the info of a request stream of `size` bytes; its id is the request's too."""
    attributes = {
        _ID: request_id,
        _METHOD: method,
        _TIMEOUT: str(timeout_ms),
        _VERSION: _VERSION_TEXT,
    }
    if accepts:
        attributes[_ACCEPTS] = accepts
    return TextStreamInfo(
        stream_id=request_id, topic=REQUEST_TOPIC, size=size, attributes=attributes
    )


def repeat_info(
    stream_id: str,
    request_id: str,
    method: str,
    timeout_ms: int,
    size: int,
    first_sid: str,
    accepts: str = "",
) -> TextStreamInfo:
    """Return the info of the stream of a request that is sent again (L8).

    Args:
        stream_id: Another id than that of any earlier stream, which may not have ended.
        first_sid: The SID of the callee's session that the request was sent to first.
    """
    info = request_info(request_id, method, timeout_ms, size, accepts)
    attributes = {**info.attributes, _AGAIN: first_sid}
    return evolve(info, stream_id=stream_id, attributes=attributes)


def first_sid_of(attributes: Mapping[str, str]) -> str:
    """Return the SID that a repeated request was sent to first; `""` if it is no repeat."""
    return attributes.get(_AGAIN, "")


def accepted_kinds(attributes: Mapping[str, str]) -> str:
    """Return the kinds of streams that a caller accepts besides the response, or `""`."""
    return attributes.get(_ACCEPTS, "")


def set_timeout(header: models.DataStream.Header, timeout_ms: int) -> None:
    """Set the remaining time in the header of a request stream."""
    header.attributes[_TIMEOUT] = str(timeout_ms)


def response_info(request_id: str, size: int) -> TextStreamInfo:
    """Return the info of a response stream of `size` bytes; its id is the request's too."""
    return TextStreamInfo(
        stream_id=request_id, topic=RESPONSE_TOPIC, size=size, attributes={_ID: request_id}
    )


def may_have_run(why: str) -> RpcError:
    """Return the 1503 of a call that is not sent again, or not taken again (L8).

    Args:
        why: The reason, for people.
    """
    return RpcError.built_in(
        RpcError.ErrorCode.RECIPIENT_DISCONNECTED, f"{why}: the handler may have run"
    )


def request_id_of(attributes: Mapping[str, str]) -> str:
    """Return the id of the request that a stream is, or answers; `""` if it names none."""
    return attributes.get(_ID, "")


def parse_request(attributes: Mapping[str, str]) -> StreamRequest:
    """Parse the attributes of a request stream.

    Raises:
        ValueError: one of them is missing or invalid.
    """
    return StreamRequest(
        id=_present(attributes, _ID),
        method=_present(attributes, _METHOD),
        timeout_ms=_decimal(attributes, _TIMEOUT),
        version=_decimal(attributes, _VERSION),
    )


def _present(attributes: Mapping[str, str], key: str) -> str:
    if text := attributes.get(key):
        return text
    raise ValueError(f"the attribute {key} is missing")


def _decimal(attributes: Mapping[str, str], key: str) -> int:
    text = _present(attributes, key)
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_TIMEOUT_MS):
        raise ValueError(f"the attribute {key} is not a decimal number of 32 bits")
    return int(text)
