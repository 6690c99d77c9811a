"""The argument of a handler."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from attrs import define, field


class CancelReason(IntEnum):
    """The reason why a handler is cancelled.

    Two of them are equal to LiveKit's `RpcError.ErrorCode` of the same name.
    """

    CALLER_GAVE_UP = 1
    RESPONSE_TIMEOUT = 1502
    RECIPIENT_DISCONNECTED = 1503


@define
class RpcInvocationData:
    """The argument of a handler (rule A3).

    Attributes:
        request_id: The id of the call, unique among all calls.
        caller_identity: The identity of the caller; the server vouches for it.
        payload: The caller's payload: at most 15,360 UTF-8 bytes, or more in RPC v2
            (`Room(max_payload_bytes=…)`).
        response_timeout: Seconds that the handler has; it is cancelled when they are over.
        method: The name of the method.
        accepts: The kinds of streams that the caller accepts besides the response (T8, T9).
    """

    request_id: str
    caller_identity: str
    payload: str
    response_timeout: float
    method: str = ""
    accepts: tuple[str, ...] = ()
    _reason: Callable[[], CancelReason | None] | None = field(
        default=None, init=False, eq=False, repr=False
    )

    @property
    def cancel_reason(self) -> CancelReason | None:
        """The reason why the handler is cancelled; None while it is not.

        It is there before the cancellation reaches the handler. It belongs to the event loop, and
        cannot be read in a worker thread.
        """
        return None if self._reason is None else self._reason()
