"""The arguments of a call, checked before anything is sent (rules C10 and C11)."""

from __future__ import annotations

import math

from ..errors import RpcError
from ..protocol.limits import MAX_METHOD_BYTES, MAX_REQUEST_ID_BYTES, utf8_length


def check_call(
    method: object,
    payload: object,
    response_timeout: float,
    max_round_trip_latency: float | None = None,
    request_id: str | None = None,
) -> int:
    """Validate the arguments of a call (rule C11).

    Returns:
        The UTF-8 bytes of the payload.

    Raises:
        TypeError: `method`, `payload` or `request_id` is not a `str`.
        ValueError: the name of the method or the id is empty or too long, a timeout not positive,
            or the payload not Unicode.
    """
    if not isinstance(method, str):
        raise TypeError(f"the name of a method is a str, not {type(method).__name__}")
    if not isinstance(payload, str):
        raise TypeError(
            f"the payload of a call is a str, not {type(payload).__name__}: encode it, as JSON say"
        )
    if not 1 <= len(method.encode()) <= MAX_METHOD_BYTES:
        raise ValueError(
            f"the name of a method has 1 to {MAX_METHOD_BYTES} UTF-8 bytes, "
            f"not {utf8_length(method):,}"
        )
    if math.isnan(response_timeout) or response_timeout <= 0:
        raise ValueError(f"response_timeout is a number of seconds above 0, not {response_timeout}")
    if max_round_trip_latency is not None and not max_round_trip_latency > 0:
        raise ValueError(
            f"max_round_trip_latency is a number of seconds above 0, not {max_round_trip_latency}"
        )
    if request_id is not None:
        _check_request_id(request_id)
    return utf8_length(payload)


def _check_request_id(request_id: object) -> None:
    if not isinstance(request_id, str):
        raise TypeError(f"a request_id is a str, not {type(request_id).__name__}")
    if not 1 <= (size := utf8_length(request_id)) <= MAX_REQUEST_ID_BYTES:
        raise ValueError(f"a request_id has 1 to {MAX_REQUEST_ID_BYTES} UTF-8 bytes, not {size:,}")


def too_large(size: int, max_bytes: int) -> RpcError:
    """Return the error for a payload that is larger than the callee takes (rule C10)."""
    return RpcError.built_in(
        RpcError.ErrorCode.REQUEST_PAYLOAD_TOO_LARGE,
        f"the payload has {size:,} bytes, over the limit of {max_bytes:,}",
    )
