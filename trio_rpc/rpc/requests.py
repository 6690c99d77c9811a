"""A request on the callee's side, and the errors that may answer it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field
from livekit.protocol import models

from ..concurrency import CancelScope
from ..errors import RpcError, StreamError
from ..protocol.rpc_messages import (
    STREAM_RPC_VERSION,
    accepted_kinds,
    first_sid_of,
    parse_request,
    request_id_of,
)
from ..protocol.stream_assembly import inline_text
from ..streams.buffer import StreamBuffer
from ..streams.buffer_context import BufferContext
from .invocation_data import CancelReason
from .methods import Method, unsupported

#: The bytes charged for a request besides its payload, until it is answered.
REQUEST_BYTES: Final = 2048

LEFT: Final = RpcError.built_in(
    RpcError.ErrorCode.RECIPIENT_DISCONNECTED, "the callee left the room before it had answered"
)
GAVE_UP: Final = RpcError.built_in(RpcError.ErrorCode.RESPONSE_TIMEOUT, "the caller gave up")
FAILED: Final = RpcError.built_in(
    RpcError.ErrorCode.APPLICATION_ERROR, "the callee failed to answer"
)


@define(eq=False)
class Request:
    """A request, from a packet or a stream.

    Attributes:
        transport: The version of RPC that it came by; `version` is what it asks for.
        takes_stream: Whether the answer may be a stream: of a request that came as one, and of one
            whose caller is of this library (N4).
        deadline: The end of its time, on the event loop's clock.
        ended_at: The time at which its handler ended; 0 before that.
        body: The stream of the payload, if the request comes as a stream.
        problem: The reason why the request is invalid, if it is.
        handler: The method that it is for, once that was looked up.
        charged: The bytes that were charged to the caller for it, without those of `body`.
        scope: Around the handler, once that runs.
        given_up: The caller has given up.
        again: The SID of our session that it was sent to first, if this is a repeat (L8).
        is_remembered: Its id is remembered once it was answered (B1): its caller is still here, or
            may come back, and a handler may have run.
        keeps_outcome: Its outcome is kept for its caller, which may ask again (L7).
        is_repeated: A repeat came since its response was sent last.
        acknowledged: The ack was sent when the request began to wait.
        accepts: The kinds of streams that the caller accepts besides the response, with spaces
            between them.
        has_left: We are leaving the room.
    """

    caller: str
    id: str
    transport: int
    method: str = ""
    version: int = 0
    timeout_ms: int = 0
    payload: str = ""
    problem: str = ""
    body: StreamBuffer | None = None
    again: str = ""
    takes_stream: bool = field(init=False, default=False)
    deadline: float = field(init=False, default=0.0)
    ended_at: float = field(init=False, default=0.0)
    handler: Method | None = field(init=False, default=None)
    charged: int = field(init=False, default=0)
    scope: CancelScope | None = field(init=False, default=None)
    given_up: bool = field(init=False, default=False)
    is_remembered: bool = field(init=False, default=True)
    is_repeated: bool = field(init=False, default=False)
    keeps_outcome: bool = field(init=False, default=False)
    acknowledged: bool = field(init=False, default=False)
    accepts: str = field(init=False, default="")
    has_left: bool = field(init=False, default=False)

    def cancel_reason(self) -> CancelReason | None:
        """Return the reason why the handler is cancelled; None while it is not."""
        if self.given_up:
            return CancelReason.CALLER_GAVE_UP
        if self.scope is not None and self.scope.cancel_called:
            return CancelReason.RESPONSE_TIMEOUT
        return CancelReason.RECIPIENT_DISCONNECTED if self.has_left else None


class RequestBody(StreamBuffer):
    """The sink of a request that comes as a stream, which reports when it is complete."""

    def __init__(
        self,
        context: BufferContext,
        sender: str,
        header: models.DataStream.Header,
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(context, sender, header)
        self._on_end = on_end

    def end(self, error: StreamError | None = None) -> None:
        super().end(error)
        self._on_end()


def read_inline(caller: str, header: models.DataStream.Header) -> Request:
    """Return the request that is inline in the header of its stream."""
    request = read_request(caller, header)
    if not request.problem:
        try:
            request.payload = inline_text(header)
        except StreamError as error:
            request.problem = f"the request broke off: {error}"
    return request


def read_request(caller: str, header: models.DataStream.Header) -> Request:
    """Return the request that the header of a stream describes (S2, S8)."""
    attributes = header.attributes
    request = Request(caller, request_id_of(attributes), STREAM_RPC_VERSION)
    request.again = first_sid_of(attributes)
    request.accepts = accepted_kinds(attributes)
    try:
        parsed = parse_request(attributes)
    except ValueError as error:
        request.problem = str(error)
    else:
        request.version = parsed.version
        request.method = parsed.method
        request.timeout_ms = parsed.timeout_ms
    return request


def refusal_of(request: Request) -> RpcError:
    """Return the error of a request that there is no handler for (A2, S8)."""
    if request.problem:
        return RpcError.built_in(RpcError.ErrorCode.APPLICATION_ERROR, request.problem)
    if request.version != request.transport:
        return RpcError.built_in(
            RpcError.ErrorCode.UNSUPPORTED_VERSION,
            f"version {request.version} was asked for, {request.transport} is spoken here",
        )
    return unsupported(request.method)


def not_taken(why: str) -> RpcError:
    """Return the error of a request over a limit (B4, B5)."""
    return RpcError.built_in(RpcError.ErrorCode.APPLICATION_ERROR, f"not taken: {why}")


def late(request: Request) -> RpcError:
    """Return the error of a request whose time is over."""
    return RpcError.built_in(
        RpcError.ErrorCode.RESPONSE_TIMEOUT,
        f"the handler of {request.method!r} did not finish within {request.timeout_ms / 1000:g} s",
    )
