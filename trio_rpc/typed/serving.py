"""Answering typed calls: handlers that take arguments and return values (rules T1 to T3, T8)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any, Final, cast

from attrs import define

from .. import concurrency
from ..errors import RpcError
from ..protocol.limits import utf8_length
from ..rpc.invocation_data import RpcInvocationData
from ..rpc.methods import sole_cause
from .codec import Codec, InvalidValueError
from .context import CallContext, OpenStream
from .errors import ErrorRegistry, InvalidArguments
from .receiving import Receiving
from .signatures import Signature, signature_of
from .windows import TAKEN_TOPIC, SendWindow

#: The topic of the items of a streamed answer (T8).
ITEMS_TOPIC: Final = "trio_rpc.items"
#: The kind of stream that a caller accepts who wants items one by one.
ITEMS: Final = "items"


@define(eq=False)
class TypedMethod:
    """The handler of a typed method, which `register_rpc_method` takes.

    Attributes:
        name: The name of the method.
        function: The program's function.
        hidden: Whether discovery leaves it out (T10).
        max_bytes: The most bytes of a list of items for a caller that does not take a stream.
    """

    name: str
    function: Callable[..., Any]
    signature: Signature
    description: str
    hidden: bool
    codec: Codec
    errors: ErrorRegistry
    open_stream: OpenStream
    receiving: Receiving
    max_bytes: int

    async def __call__(self, invocation: RpcInvocationData) -> str:
        arguments = self._load(invocation)
        try:
            if self.signature.context is None and not self.signature.streams:
                return self.codec.dumps(await self.function(**arguments))
            deadline = concurrency.current().current_effective_deadline()
            async with CallContext(invocation, deadline, self.open_stream) as context:
                if self.signature.context is not None:
                    arguments[self.signature.context] = context
                if self.signature.streams:
                    return await self._stream(invocation, arguments)
                return self.codec.dumps(await self.function(**arguments))
        except Exception as error:
            self._translate(error)
            raise

    def _load(self, invocation: RpcInvocationData) -> dict[str, Any]:
        try:
            return self.signature.load_arguments(self.codec, invocation.payload)
        except InvalidValueError as error:
            invalid = InvalidArguments(self.name, error.path, error.expected)
        raise invalid

    def _translate(self, error: Exception) -> None:
        """Raise the error that the caller gets for one of a registered class."""
        if (failure := self.errors.to_rpc(sole_cause(error))) is not None:
            raise failure from error

    async def _stream(self, invocation: RpcInvocationData, arguments: dict[str, Any]) -> str:
        items = self.function(**arguments)
        async with aclosing(items):
            if ITEMS not in invocation.accepts:
                return await self._collect(items)
            window = SendWindow.of(invocation.accepts)
            if window is None:
                await self._write(invocation, items, None)
                return "null"
            caller, request_id = invocation.caller_identity, invocation.request_id
            with self.receiving.expect(TAKEN_TOPIC, caller, request_id) as confirmations:
                async with concurrency.open_service_nursery() as nursery:
                    nursery.start_soon(window.read, confirmations)
                    await self._write(invocation, items, window)
        return "null"

    async def _write(
        self, invocation: RpcInvocationData, items: Any, window: SendWindow | None
    ) -> None:
        async with self.open_stream(invocation, ITEMS_TOPIC) as writer:
            async for item in items:
                line = f"{self.codec.dumps(item)}\n"
                if window is not None:
                    await window.reserve(utf8_length(line))
                await writer.write(line)

    async def _collect(self, items: Any) -> str:
        pieces: list[str] = []
        size = 2
        async for item in items:
            piece = self.codec.dumps(item)
            size += len(piece) + 1
            if size > self.max_bytes:
                raise RpcError.built_in(
                    RpcError.ErrorCode.RESPONSE_PAYLOAD_TOO_LARGE,
                    f"the items of {self.name!r} have more than {self.max_bytes:,} bytes, and the "
                    "caller does not take a stream of them",
                )
            pieces.append(piece)
        return f"[{','.join(pieces)}]"


@define(eq=False)
class BlockingMethod(TypedMethod):
    """The handler of a method whose function is no `async def`: it runs in a worker thread."""

    def __call__(self, invocation: RpcInvocationData) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        arguments = self._load(invocation)
        try:
            return self.codec.dumps(self.function(**arguments))
        except Exception as error:
            self._translate(error)
            raise


def typed_method(
    function: Callable[..., Any],
    name: str,
    *,
    description: str | None,
    hidden: bool,
    codec: Codec,
    errors: ErrorRegistry,
    open_stream: OpenStream,
    receiving: Receiving,
    max_bytes: int,
) -> TypedMethod:
    """Return the handler of a method.

    Args:
        function: The function; its annotations are the contract.
        description: The description for discovery; the docstring unless given.

    Raises:
        TypeError: it cannot be called with arguments in JSON (T13).
    """
    if not callable(function):
        raise TypeError(f"the function of method {name!r} is not callable: {function!r}")
    signature = signature_of(function, name, codec)
    if signature.streams and not inspect.isasyncgenfunction(inspect.unwrap(function)):
        raise TypeError(f"method {name!r} streams, so it has to be an `async def` that yields")
    if not signature.is_async and signature.context is not None:
        raise TypeError(f"method {name!r} takes a CallContext, so it has to be an `async def`")
    made = TypedMethod if signature.is_async else BlockingMethod
    return made(
        name=name,
        function=function,
        signature=signature,
        description=signature.description if description is None else description,
        hidden=hidden,
        codec=codec,
        errors=errors,
        open_stream=open_stream,
        receiving=receiving,
        max_bytes=max_bytes,
    )


def methods_of(service: object) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the public async methods of an object, by name.

    Raises:
        TypeError: there are none.
    """
    found = False
    for name in dir(type(service)):
        member = inspect.getattr_static(type(service), name)
        if isinstance(member, staticmethod | classmethod):
            member = cast("Any", member).__func__
        is_async = inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)
        if is_async and not name.startswith("_"):
            found = True
            yield name, getattr(service, name)
    if not found:
        raise TypeError(f"{service!r} has no public async methods")
