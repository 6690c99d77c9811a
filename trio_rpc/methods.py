"""The callee's half of RPC: methods, and invocations of them.

An invocation is a task. It acknowledges the request before anything else, then runs the handler
inside a `move_on_after` scope of the timeout that came with the request, and answers exactly once,
whatever happens:

    the handler returns text or None ─► the payload, or 1504      runs too long ─► 1502
    it raises RpcError ───────────────► that error, cut to size   we leave ──────► 1503
    it raises or returns anything else ► 1500, logged here        no such method ► 1400
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeVar, cast

from attrs import frozen
from livekit.protocol import models

from .calls import Outlet
from .concurrency import Backend, Nursery, failure_in
from .errors import RpcError
from .limits import MAX_METHOD_BYTES, MAX_PAYLOAD_BYTES, utf8_length
from .links import LinkClosedError, LinkFullError
from .packets import RPC_VERSION, rpc_ack, rpc_response

logger = logging.getLogger(__name__)

#: How many handlers of a participant run at the same time, unless it says otherwise (A13).
DEFAULT_MAX_CONCURRENT_HANDLERS: Final = 1000
#: How many of them may be blocking functions, each in a thread: what trio and anyio allow too.
_MAX_HANDLER_THREADS: Final = 40


@frozen
class RpcInvocationData:
    """What a handler is called with (rule A3).

    Attributes:
        request_id: The id of the call, unique among all calls.
        caller_identity: Who calls; the server vouches for it.
        payload: What the caller sent, at most 15,360 UTF-8 bytes.
        response_timeout: Seconds that the handler has; it is cancelled when they are over.
    """

    request_id: str
    caller_identity: str
    payload: str
    response_timeout: float


RpcHandler = Callable[[RpcInvocationData], Awaitable[str | None] | str | None]
H = TypeVar("H", bound=RpcHandler)


@frozen
class _Method:
    name: str
    handler: Callable[[RpcInvocationData], Any]
    is_async: bool


class MethodRegistry:
    """The methods that a participant answers to, in whichever room it is."""

    def __init__(self) -> None:
        self._methods: dict[str, _Method] = {}

    def get(self, name: str) -> _Method | None:
        """The method of that name."""
        return self._methods.get(name)

    def register(self, name: str, handler: RpcHandler) -> None:
        """Answer to `name` with `handler` (rule A11).

        Raises:
            TypeError: `handler` is not callable.
            ValueError: the name is taken, empty, or over 64 UTF-8 bytes.
        """
        if not callable(handler):
            raise TypeError(f"the handler of method {name!r} is not callable: {handler!r}")
        if not 1 <= utf8_length(name) <= MAX_METHOD_BYTES:
            raise ValueError(
                f"the name of a method has 1 to {MAX_METHOD_BYTES} UTF-8 bytes, "
                f"not {utf8_length(name):,}"
            )
        if name in self._methods:
            raise ValueError(
                f"method {name!r} is registered already: call unregister_rpc_method first"
            )
        self._methods[name] = _Method(name, handler, _is_async(handler))

    def register_or_decorate(self, name: str, handler: H | None) -> H | Callable[[H], H]:
        """`register`, or a decorator that does it when there is no handler yet.

        Raises:
            TypeError: `name` is no text.
        """
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f'the name of a method is a str, not {name!r}: use @register_rpc_method("name")'
            )

        def register(handler: H) -> H:
            self.register(name, handler)
            return handler

        return register if handler is None else register(handler)

    def unregister(self, name: str) -> None:
        """Answer to `name` no longer; invocations that run finish.

        Raises:
            KeyError: there is no such method.
        """
        if name not in self._methods:
            raise KeyError(f"no method {name!r} is registered")
        del self._methods[name]


def _is_async(handler: Callable[..., Any]) -> bool:
    while isinstance(handler, functools.partial):
        handler = handler.func
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004
    )


class Invocations:
    """The invocations of one stay in a room."""

    def __init__(
        self,
        backend: Backend,
        outlet: Outlet,
        registry: MethodRegistry,
        max_concurrent_handlers: int,
    ) -> None:
        self._backend = backend
        self._outlet = outlet
        self._registry = registry
        self._turns = backend.semaphore(max_concurrent_handlers)
        self._threads = backend.capacity_limiter(min(max_concurrent_handlers, _MAX_HANDLER_THREADS))
        self._running = 0

    def __len__(self) -> int:
        return self._running

    def start(self, nursery: Nursery, caller: str, request: models.RpcRequest) -> None:
        """Answer a request, in a task of `nursery`; cancelling the nursery answers 1503."""
        nursery.start_soon(self._answer, caller, request)

    async def _answer(self, caller: str, request: models.RpcRequest) -> None:
        outcome: str | RpcError = RpcError.built_in(
            RpcError.ErrorCode.RECIPIENT_DISCONNECTED,
            "the callee left the room before it had answered",
        )
        self._running += 1
        try:
            await self._send(rpc_ack(caller, request.id))
            outcome = await self._invoke(caller, request)
            await self._send(rpc_response(caller, request.id, outcome))
        except LinkClosedError as error:
            logger.debug("no answer to %s: %s", caller, error)
        except BaseException:
            # Cancelled: there is no more waiting, but one last word may still be queued.
            with suppress(LinkFullError, LinkClosedError):
                self._outlet.send_nowait(rpc_response(caller, request.id, outcome))
            raise
        finally:
            self._running -= 1

    async def _send(self, packet: models.DataPacket) -> None:
        while True:
            try:
                return self._outlet.send_nowait(packet)
            except LinkFullError:
                await self._outlet.wait_writable()

    async def _invoke(self, caller: str, request: models.RpcRequest) -> str | RpcError:
        if request.version != RPC_VERSION:
            return RpcError.built_in(
                RpcError.ErrorCode.UNSUPPORTED_VERSION,
                f"version {request.version} was asked for, {RPC_VERSION} is spoken here",
            )
        method = self._registry.get(request.method)
        if method is None:
            return RpcError.built_in(
                RpcError.ErrorCode.UNSUPPORTED_METHOD, f"no method {request.method!r} is registered"
            )
        timeout = request.response_timeout_ms / 1000
        data = RpcInvocationData(request.id, caller, request.payload, timeout)
        with self._backend.move_on_after(timeout):
            return await self._run_handler(method, data)
        return RpcError.built_in(
            RpcError.ErrorCode.RESPONSE_TIMEOUT,
            f"the handler of {method.name!r} did not finish within {timeout:g} s",
        )

    async def _run_handler(self, method: _Method, data: RpcInvocationData) -> str | RpcError:
        try:
            async with self._turns:
                if method.is_async:
                    result = await method.handler(data)
                else:
                    (result,) = await self._backend.run_sync_in_thread(
                        _call_boxed,
                        method.handler,
                        data,
                        abandon_on_cancel=True,
                        limiter=self._threads,
                    )
                    if inspect.isawaitable(result):
                        result = await result
        except BaseException as error:
            failure = failure_in(error)
            if failure is None:
                raise
            outcome: str | RpcError = _error_of(method.name, failure)
        else:
            outcome = _checked_result(method.name, result)
        if self._backend.is_cancelled():
            # Its time is over, or we leave: what it made of that does not count.
            await self._backend.sleep_forever()
        return outcome


def _call_boxed(handler: RpcHandler, data: RpcInvocationData) -> tuple[object]:
    # In a tuple, since trio refuses to bring a coroutine out of a thread.
    return (handler(data),)


def _error_of(method: str, error: Exception) -> RpcError:
    """What the caller gets to know of an exception that left a handler."""
    cause = _sole_cause(error)
    if isinstance(cause, RpcError):
        return cause
    logger.error("the handler of %r failed", method, exc_info=error)
    return _application_error(method)


def _sole_cause(error: BaseException) -> BaseException:
    """What a handler raised inside a nursery of its own, which made it a group of one."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return _sole_cause(group.exceptions[0]) if len(group.exceptions) == 1 else group


def _checked_result(method: str, result: object) -> str | RpcError:
    if result is None:
        return ""
    if not isinstance(result, str):
        logger.error(
            "the handler of %r returned %s: a str or None is wanted", method, type(result).__name__
        )
        return _application_error(method)
    try:
        size = utf8_length(result)
    except UnicodeEncodeError:
        logger.error("the handler of %r returned text that is not Unicode", method)
        return _application_error(method)
    if size > MAX_PAYLOAD_BYTES:
        return RpcError.built_in(
            RpcError.ErrorCode.RESPONSE_PAYLOAD_TOO_LARGE,
            f"the response of {method!r} has {size:,} bytes, over the limit of "
            f"{MAX_PAYLOAD_BYTES:,}",
        )
    return result


def _application_error(method: str) -> RpcError:
    return RpcError.built_in(
        RpcError.ErrorCode.APPLICATION_ERROR,
        f"the handler of {method!r} failed; its own log says why",
    )
