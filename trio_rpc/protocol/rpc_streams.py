"""RPC in data streams, as version 2 has it (rules S1, S2 and S8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen
from livekit.protocol import models

from .bounds import REQUEST_ID_ATTRIBUTE
from .limits import MAX_TIMEOUT_MS
from .stream_info import TextStreamInfo

REQUEST_TOPIC: Final = "lk.rpc_request"
RESPONSE_TOPIC: Final = "lk.rpc_response"
#: The version that a request in a stream speaks.
STREAM_RPC_VERSION: Final = 2
_VERSION_TEXT: Final = str(STREAM_RPC_VERSION)

_ID: Final = REQUEST_ID_ATTRIBUTE
_METHOD: Final = "lk.rpc_request_method"
_TIMEOUT: Final = "lk.rpc_request_response_timeout_ms"
_VERSION: Final = "lk.rpc_request_version"


@frozen
class StreamRequest:
    """A request, as the attributes of its stream describe it."""

    id: str
    method: str
    timeout_ms: int
    version: int


def request_info(request_id: str, method: str, timeout_ms: int, size: int) -> TextStreamInfo:
    """Return the info of a request stream of `size` bytes; its id is the request's too."""
    return TextStreamInfo(
        stream_id=request_id,
        topic=REQUEST_TOPIC,
        size=size,
        attributes={
            _ID: request_id,
            _METHOD: method,
            _TIMEOUT: str(timeout_ms),
            _VERSION: _VERSION_TEXT,
        },
    )


def set_timeout(header: models.DataStream.Header, timeout_ms: int) -> None:
    """Set the remaining time in the header of a request stream."""
    header.attributes[_TIMEOUT] = str(timeout_ms)


def response_info(request_id: str, size: int) -> TextStreamInfo:
    """Return the info of a response stream of `size` bytes; its id is the request's too."""
    return TextStreamInfo(
        stream_id=request_id, topic=RESPONSE_TOPIC, size=size, attributes={_ID: request_id}
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
