"""The limits of the protocol, and how text is measured and cut to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

if TYPE_CHECKING:
    from attrs import Attribute

#: RPC payloads of version 1, requests and responses (rule C10), and the data of errors (A6).
MAX_PAYLOAD_BYTES: Final = 15_360
#: The message of an error (A6).
MAX_ERROR_MESSAGE_BYTES: Final = 256
#: The name of a method (C11).
MAX_METHOD_BYTES: Final = 64
#: The id of a request (B2).
MAX_REQUEST_ID_BYTES: Final = 128
#: The id and the topic of a stream, the topic of data, and the key of an attribute (B2).
MAX_NAME_BYTES: Final = 256
#: The identity of a participant, as a destination (B2); LiveKit's servers have the same limit.
MAX_IDENTITY_BYTES: Final = 256
#: The destinations of a packet (B2).
MAX_DESTINATIONS: Final = 1_000
#: The attributes of a stream (B2).
MAX_ATTRIBUTES: Final = 256
#: The value of an attribute (B2).
MAX_ATTRIBUTE_BYTES: Final = 32 * 1024
#: The reason that its sender gives for a broken stream (B2).
MAX_REASON_BYTES: Final = 1_024
#: One serialised `DataPacket` (P7).
MAX_PACKET_BYTES: Final = 64_000
#: The largest timeout that an `RpcRequest` can carry (P3: uint32 milliseconds).
MAX_TIMEOUT_MS: Final = 2**32 - 1


def _is_above_0(_limits: object, attribute: Attribute[Any], limit: float) -> None:
    if not limit > 0:
        raise ValueError(f"{attribute.name} is above 0, not {limit}")


def _is_at_least_1(_limits: object, attribute: Attribute[Any], limit: int) -> None:
    if limit < 1:
        raise ValueError(f"{attribute.name} is at least 1, not {limit}")


@frozen
class CallLimits:
    """The limits of calls; see `Room`."""

    max_round_trip_latency: float = field(validator=_is_above_0)
    max_payload_bytes: int = field(validator=_is_at_least_1)


@frozen
class SessionLimits(CallLimits):
    """The limits that `Room` takes; see there.

    Raises:
        ValueError: a limit is not above 0.
    """

    max_concurrent_handlers: int = field(validator=_is_at_least_1)
    max_stream_bytes: int = field(validator=_is_at_least_1)
    max_peer_bytes: int = field(validator=_is_at_least_1)
    max_peers_bytes: int = field(validator=_is_at_least_1)
    max_peer_streams: int = field(validator=_is_at_least_1)
    max_streams: int = field(validator=_is_at_least_1)
    max_waiting_requests: int = field(validator=_is_at_least_1)


def utf8_length(text: str) -> int:
    """Return the size of `text` in UTF-8 bytes.

    Raises:
        ValueError: `text` has lone surrogates, which UTF-8 cannot carry.
    """
    if text.isascii():
        return len(text)
    return len(text.encode())


def truncate_utf8(text: str, max_bytes: int) -> str:
    """Cut `text` to at most `max_bytes` UTF-8 bytes, on a character boundary.

    A lone surrogate, which UTF-8 cannot carry, becomes a question mark.
    """
    encoded = text.encode(errors="replace")
    return encoded[:max_bytes].decode(errors="ignore")


def wire_timeout_ms(remaining: float, round_trip: float) -> int:
    """Return the response timeout, in ms, that an `RpcRequest` gives its callee (rule C3).

    It is strictly less than `remaining`, by the round trip to the server if that was measured, so
    that the callee gives up before its caller does; but at least 1 ms, since 0 would mean no time
    at all.

    Args:
        remaining: Seconds that the caller will still wait; may be infinite.
        round_trip: Seconds of the last measured round trip to the server.
    """
    milliseconds = min((remaining - round_trip) * 1000.0, MAX_TIMEOUT_MS + 1.0)
    whole = int(milliseconds) if milliseconds > 0 else 0
    if whole == milliseconds:
        whole -= 1
    return max(whole, 1)
