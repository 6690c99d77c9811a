"""How RPC travels in data streams, as version 2 has it (rules S1, S2 and S8). No I/O."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from .limits import MAX_TIMEOUT_MS

REQUEST_TOPIC: Final = "lk.rpc_request"
RESPONSE_TOPIC: Final = "lk.rpc_response"
#: The version that a request in a stream speaks.
STREAM_RPC_VERSION: Final = 2

_ID: Final = "lk.rpc_request_id"
_METHOD: Final = "lk.rpc_request_method"
_TIMEOUT: Final = "lk.rpc_request_response_timeout_ms"
_VERSION: Final = "lk.rpc_request_version"


@frozen
class StreamRequest:
    """What the attributes of a request stream say."""

    id: str
    method: str
    timeout_ms: int
    version: int


def request_attributes(request_id: str, method: str, timeout_ms: int) -> dict[str, str]:
    """The attributes of a request stream."""
    return {
        _ID: request_id,
        _METHOD: method,
        _TIMEOUT: str(timeout_ms),
        _VERSION: str(STREAM_RPC_VERSION),
    }


def response_attributes(request_id: str) -> dict[str, str]:
    """The attributes of a response stream."""
    return {_ID: request_id}


def request_id_of(attributes: dict[str, str]) -> str:
    """The id of the request that a stream is, or answers; `""` when it says none."""
    return attributes.get(_ID, "")


def parse_request(attributes: dict[str, str]) -> StreamRequest:
    """What the attributes of a request stream say.

    Raises:
        ValueError: one of them is missing, or is not what it should be.
    """
    for key in (_ID, _METHOD, _TIMEOUT, _VERSION):
        if not attributes.get(key):
            raise ValueError(f"the attribute {key} is missing")
    return StreamRequest(
        id=attributes[_ID],
        method=attributes[_METHOD],
        timeout_ms=_decimal(attributes, _TIMEOUT),
        version=_decimal(attributes, _VERSION),
    )


def _decimal(attributes: dict[str, str], key: str) -> int:
    text = attributes[key]
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_TIMEOUT_MS):
        raise ValueError(f"the attribute {key} is not a decimal number of 32 bits")
    return int(text)
