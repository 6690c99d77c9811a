"""The callee's half of RPC: requests, and a task for each.

A task acknowledges its request before anything else, then runs the handler inside a
`move_on_after` scope of the timeout that came with the request, and answers exactly once, whatever
happens:

    acknowledged ──► handler's turn ──► handler done ──► answered
         ├─ no such method ─► 1400        the time is over ─► 1502
         └─ other version ──► 1404        we leave ─────────► 1503

A request comes as a packet (version 1) or as a stream (version 2), and the answer takes the same
way; acks and errors are packets always (rules N3 and S3).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from attrs import define
from livekit.protocol import models

from .concurrency import Backend, CancelScope, Event, Nursery
from .errors import RpcError, StreamError
from .limits import MAX_PAYLOAD_BYTES, SessionLimits
from .links import LinkClosedError, LinkFullError
from .methods import Method, MethodRegistry, RpcInvocationData, call_handler
from .outlet import Outlet
from .packets import RPC_VERSION, rpc_ack, rpc_response
from .rpc_streams import (
    STREAM_RPC_VERSION,
    parse_request,
    request_id_of,
    response_info,
)
from .streams.outgoing import OutgoingStreams
from .turnstile import Turn, Turnstile

logger = logging.getLogger(__name__)

#: How many handlers of a participant run at the same time, unless it says otherwise (A13).
DEFAULT_MAX_CONCURRENT_HANDLERS: Final = 1000
_LEFT: Final = RpcError.built_in(
    RpcError.ErrorCode.RECIPIENT_DISCONNECTED, "the callee left the room before it had answered"
)
#: How many of them may be blocking functions, each in a thread: what trio and anyio allow too.
_MAX_HANDLER_THREADS: Final = 40


class _RequestBody:
    """Takes a request that comes as a stream, for its task to read."""

    def __init__(self, backend: Backend, max_bytes: int) -> None:
        self._backend = backend
        self._max_bytes = max_bytes
        self._content = bytearray()
        self._ended = False
        self._error: StreamError | None = None
        # Set at the end, where somebody waits for it: mostly all has come at once.
        self._end_waited_for: Event | None = None

    def feed(self, piece: bytes) -> None:
        self._content += piece
        if len(self._content) > self._max_bytes:
            raise StreamError(f"it has more than {self._max_bytes:,} bytes")

    def end(self, error: StreamError | None = None) -> None:
        self._ended = True
        self._error = error
        if self._end_waited_for is not None:
            self._end_waited_for.set()

    async def read(self) -> str:
        """The whole text.

        Raises:
            StreamError: it broke off, is too large, or is not UTF-8.
        """
        if not self._ended:
            self._end_waited_for = self._backend.event()
            await self._end_waited_for.wait()
        if self._error is not None:
            raise self._error
        try:
            return self._content.decode()
        except UnicodeDecodeError:
            raise StreamError("it is not UTF-8") from None


@define(eq=False)
class _Request:
    """A request, however it came.

    Attributes:
        transport: The version of RPC that it came by; `version` is what it asks for.
        payload: What came with it: the payload, or what will have it.
        problem: What is wrong with it, where it can't be understood.
    """

    caller: str
    id: str
    transport: int
    payload: str | _RequestBody
    version: int = 0
    method: str = ""
    timeout_ms: int = 0
    problem: str = ""


class Invocations:
    """The invocations of one stay in a room."""

    def __init__(
        self,
        backend: Backend,
        outlet: Outlet,
        streams: OutgoingStreams,
        registry: MethodRegistry,
        limits: SessionLimits,
    ) -> None:
        self._backend = backend
        self._outlet = outlet
        self._streams = streams
        self._registry = registry
        self._limits = limits
        self._turnstile = Turnstile(backend, limits.max_concurrent_handlers)
        self._threads = backend.capacity_limiter(
            min(limits.max_concurrent_handlers, _MAX_HANDLER_THREADS)
        )
        self._unanswered = 0
        # Those whose handlers have their time, by caller and id: the caller may give up
        self._scopes: dict[tuple[str, str], CancelScope] = {}

    def __len__(self) -> int:
        return self._unanswered

    def start(self, nursery: Nursery, caller: str, request: models.RpcRequest) -> None:
        """Answer a request that came as a packet, in a task of `nursery`."""
        self._start(
            nursery,
            _Request(
                caller=caller,
                id=request.id,
                transport=RPC_VERSION,
                payload=request.payload,
                version=request.version,
                method=request.method,
                timeout_ms=request.response_timeout_ms,
            ),
        )

    def start_stream(
        self, nursery: Nursery, caller: str, attributes: Mapping[str, str]
    ) -> _RequestBody | None:
        """Answer a request that comes as a stream, in a task of `nursery`.

        Returns:
            What takes the stream's content; None where nobody could be answered (S8).
        """
        request_id = request_id_of(attributes)
        if not request_id:
            logger.debug("ignored a request stream of %s without an id", caller)
            return None
        body = _RequestBody(self._backend, self._limits.max_stream_bytes)
        request = _Request(caller, request_id, STREAM_RPC_VERSION, body)
        try:
            parsed = parse_request(attributes)
        except ValueError as error:
            request.problem = str(error)
        else:
            request.version = parsed.version
            request.method = parsed.method
            request.timeout_ms = parsed.timeout_ms
        self._start(nursery, request)
        return body

    def cancel(self, caller: str, request_id: str) -> None:
        """The caller has given up: so does the handler, if it still runs."""
        if scope := self._scopes.get((caller, request_id)):
            scope.cancel()

    def _start(self, nursery: Nursery, request: _Request) -> None:
        self._unanswered += 1
        nursery.start_soon(self._answer, request, self._turnstile.line_up())

    async def _answer(self, request: _Request, turn: Turn) -> None:
        last_word: str | RpcError = _LEFT
        try:
            await self._outlet.send(rpc_ack(request.caller, request.id))
            outcome = await self._invoke(request, turn)
            if request.transport == RPC_VERSION or isinstance(outcome, RpcError):
                last_word = outcome
                await self._outlet.send(rpc_response(request.caller, request.id, outcome))
            else:
                content = outcome.encode()
                info = response_info(request.id, len(content))
                await self._streams.send_whole(info, content, [request.caller])
            if self._unanswered == 1:
                # Nobody else is about to answer, whose packets could leave together with these.
                self._outlet.flush_nowait()
        except (LinkClosedError, StreamError) as error:
            logger.debug("no answer to %s: %s", request.caller, error)
        except BaseException:
            # Cancelled: there is no more waiting, but one last word may still be queued.
            with suppress(LinkFullError, LinkClosedError):
                self._outlet.send_nowait(rpc_response(request.caller, request.id, last_word))
            raise
        finally:
            self._turnstile.leave(turn)
            self._unanswered -= 1

    async def _invoke(self, request: _Request, turn: Turn) -> str | RpcError:
        codes = RpcError.ErrorCode
        if request.problem:
            return RpcError.built_in(codes.APPLICATION_ERROR, request.problem)
        if request.version != request.transport:
            return RpcError.built_in(
                codes.UNSUPPORTED_VERSION,
                f"version {request.version} was asked for, {request.transport} is spoken here",
            )
        method = self._registry.get(request.method)
        if method is None:
            return RpcError.built_in(
                codes.UNSUPPORTED_METHOD, f"no method {request.method!r} is registered"
            )
        timeout = request.timeout_ms / 1000
        key = request.caller, request.id
        with self._backend.move_on_after(timeout) as scope:
            self._scopes[key] = scope
            try:
                outcome = await self._run_handler(method, request, turn, timeout)
            finally:
                del self._scopes[key]
            # What a handler makes of its call after its time, or after we left, does not count.
            if not scope.cancel_called:
                await self._backend.checkpoint_if_cancelled()
                return outcome
        if self._backend.current_time() < scope.deadline:
            return RpcError.built_in(codes.RESPONSE_TIMEOUT, "the caller gave up")
        return RpcError.built_in(
            codes.RESPONSE_TIMEOUT,
            f"the handler of {request.method!r} did not finish within {timeout:g} s",
        )

    async def _run_handler(
        self, method: Method, request: _Request, turn: Turn, seconds: float
    ) -> str | RpcError:
        payload = request.payload
        if isinstance(payload, _RequestBody):
            try:
                payload = await payload.read()
            except StreamError as error:
                return RpcError.built_in(
                    RpcError.ErrorCode.APPLICATION_ERROR, f"the request broke off: {error}"
                )
        data = RpcInvocationData(request.id, request.caller, payload, seconds)
        max_bytes = MAX_PAYLOAD_BYTES
        if request.transport == STREAM_RPC_VERSION:
            max_bytes = self._limits.max_payload_bytes
        await self._turnstile.wait(turn)
        return await call_handler(self._backend, self._threads, method, data, max_bytes)
