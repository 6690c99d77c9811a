"""The methods of a participant, and calling their handlers.

The outcome of a handler becomes the outcome of the call:

    it returns text or None ──► the payload, or 1504 when that is too large
    it raises RpcError ───────► that error
    anything else ────────────► 1500, and a log entry here that says why
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from attrs import evolve, frozen

from ..concurrency import Backend, CapacityLimiter, failure_in
from ..errors import RpcError
from ..protocol.limits import MAX_METHOD_BYTES, utf8_length
from ..protocol.logs import peer_logger
from .interceptors import RpcInterceptor, chain_incoming
from .invocation_data import RpcInvocationData

logger = peer_logger(__name__)


RpcHandler = Callable[[RpcInvocationData], Awaitable[str | None] | str | None]
H = TypeVar("H", bound=RpcHandler)


@frozen
class Method:
    """A method: a name and its handler.

    Attributes:
        interceptors: The interceptors around the handler, at the time of the request.
    """

    name: str
    handler: Callable[[RpcInvocationData], Any]
    is_async: bool
    interceptors: tuple[RpcInterceptor, ...] = ()


class MethodRegistry:
    """The methods of a participant, in any room."""

    def __init__(self) -> None:
        self._methods: dict[str, Method] = {}
        self.interceptors: tuple[RpcInterceptor, ...] = ()
        # Called with each change of the methods
        self.listeners: list[Callable[[], object]] = []

    def get(self, name: str) -> Method | None:
        """Return the method of that name, if there is one, with the interceptors around it."""
        method = self._methods.get(name)
        if not self.interceptors:
            return method
        # Interceptors see requests for unknown methods as well.
        return evolve(method or _unknown(name), interceptors=self.interceptors)

    def handlers(self) -> dict[str, Callable[[RpcInvocationData], Any]]:
        """Return the handlers of all methods by name, in the order of their registration."""
        return {name: method.handler for name, method in self._methods.items()}

    def add_interceptor(self, interceptor: RpcInterceptor) -> None:
        """Add an interceptor, inside of those that there are, unless it is one of them."""
        if not any(each is interceptor for each in self.interceptors):
            self.interceptors += (interceptor,)

    def remove_interceptor(self, interceptor: RpcInterceptor) -> None:
        """Remove an interceptor, if it is there; calls in flight keep it."""
        self.interceptors = tuple(each for each in self.interceptors if each is not interceptor)

    def register(self, name: str, handler: RpcHandler) -> None:
        """Register `handler` as the method `name` (rule A11).

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
        self._methods[name] = Method(name, handler, _is_async(handler))
        self._tell()

    def register_or_decorate(self, name: str, handler: H | None) -> H | Callable[[H], H]:
        """Register a method; without a handler, return a decorator that does.

        Raises:
            TypeError: `name` is not a `str`.
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
        """Unregister the method `name`; invocations that run finish.

        Raises:
            KeyError: there is no such method.
        """
        if name not in self._methods:
            raise KeyError(f"no method {name!r} is registered")
        del self._methods[name]
        self._tell()

    def _tell(self) -> None:
        for listener in self.listeners:
            listener()


def _unknown(name: str) -> Method:
    async def refuse(_: RpcInvocationData) -> str:
        raise unsupported(name)

    return Method(name, refuse, is_async=True)


def unsupported(name: str) -> RpcError:
    """Return the error of a request for a method that is not registered (A2)."""
    return RpcError.built_in(
        RpcError.ErrorCode.UNSUPPORTED_METHOD,
        f"no method {name[:MAX_METHOD_BYTES]!r} is registered",
    )


def _is_async(handler: Callable[..., Any]) -> bool:
    while isinstance(handler, functools.partial):
        handler = handler.func
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004
    )


async def call_handler(
    backend: Backend,
    threads: CapacityLimiter,
    method: Method,
    data: RpcInvocationData,
    max_bytes: int,
) -> str | RpcError:
    """Call the handler of a method, and return its result.

    Args:
        threads: The capacity limiter of worker threads, in which plain functions run.
        max_bytes: The limit for the result, in UTF-8.

    Raises:
        BaseException: only if it does not come from the handler, such as trio's `Cancelled`.
    """
    try:
        if method.interceptors:
            handle = functools.partial(_run, backend, threads, method)
            result = await chain_incoming(method.interceptors, handle)(data)
        elif method.is_async:
            result = await method.handler(data)
        else:
            result = await _run(backend, threads, method, data)
        if type(result) is str and result.isascii() and len(result) <= max_bytes:
            # ASCII takes a byte for each character.
            return result
        return _checked_result(method.name, result, max_bytes)
    except BaseException as error:
        failure = failure_in(error)
        if failure is None:
            raise
        return _error_of(method.name, failure)


async def _run(
    backend: Backend, threads: CapacityLimiter, method: Method, data: RpcInvocationData
) -> Any:
    if method.is_async:
        return await method.handler(data)
    result = await _call_in_thread(backend, threads, method.handler, data)
    return await result if inspect.isawaitable(result) else result


async def _call_in_thread(
    backend: Backend, threads: CapacityLimiter, handler: RpcHandler, data: RpcInvocationData
) -> object:
    # Not by the thread's return value, since trio refuses to return a coroutine from a thread.
    results: list[object] = []
    given_up = False

    def call() -> None:
        results.append(handler(data))
        if given_up:
            _discard(results)

    try:
        await backend.run_sync_in_thread(call, abandon_on_cancel=True, limiter=threads)
    except BaseException:
        # The thread may be ending at this moment: it checks again.
        given_up = True
        _discard(results)
        raise
    return results[0]


def _discard(results: list[object]) -> None:
    """Close coroutines that will not be awaited, which Python would warn of."""
    for result in results:
        if inspect.iscoroutine(result):
            result.close()


def _error_of(method: str, error: BaseException) -> RpcError:
    """Return the error that reports an exception of a handler to the caller."""
    cause = sole_cause(error)
    if isinstance(cause, RpcError):
        try:
            # An instance of our own class, since a subclass may misbehave when it is sent.
            return RpcError(cause.code, cause.message, cause.data)
        except Exception as failure:
            failure.add_note(f"raised by the properties of a {type(cause).__qualname__}")
            error = failure
    logger.error("the handler of %r failed", method, exc_info=error)
    return application_error(method)


def sole_cause(error: BaseException) -> BaseException:
    """Return the error that a nursery in the handler has wrapped in a group of one."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return sole_cause(group.exceptions[0]) if len(group.exceptions) == 1 else group


def _checked_result(method: str, result: object, max_bytes: int) -> str | RpcError:
    if result is None:
        return ""
    if type(result) is not str:
        if not isinstance(result, str):
            return _wrong_result(method, result)
        # A plain `str`, since a subclass may misbehave when it is sent.
        result = str.__str__(result)
    try:
        size = utf8_length(result)
    except UnicodeEncodeError:
        logger.error("the handler of %r returned text that is not Unicode", method)
        return application_error(method)
    if size > max_bytes:
        return RpcError.built_in(
            RpcError.ErrorCode.RESPONSE_PAYLOAD_TOO_LARGE,
            f"the response of {method!r} has {size:,} bytes, over the limit of {max_bytes:,}",
        )
    return result


def _wrong_result(method: str, result: object) -> RpcError:
    logger.error(
        "the handler of %r returned %s: a str or None is wanted", method, type(result).__name__
    )
    _discard([result])
    return application_error(method)


def application_error(method: str) -> RpcError:
    """Return the error that tells a caller no more than that the handler failed."""
    return RpcError.built_in(
        RpcError.ErrorCode.APPLICATION_ERROR,
        f"the handler of {method!r} failed; its own log says why",
    )
