"""Answering typed calls: handlers that take arguments and return values (rules T1 to T3, T8)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import aclosing
from functools import cached_property
from typing import Any, Final, cast

import msgspec
from attrs import define

from .. import concurrency
from ..errors import RpcError
from ..protocol.limits import utf8_length
from ..rpc.invocation_data import RpcInvocationData
from ..rpc.methods import sole_cause
from .answer_streams import REQUEST_ID_MEMBER, AnswerStreams, OpenStream
from .codec import Codec, InvalidValueError
from .context import CallContext
from .errors import ErrorRegistry, InvalidArguments
from .receiving import Receiving
from .signatures import Signature, members_of, signature_of
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

    @cached_property
    def schemas(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The JSON Schemas of the arguments and of the result, made once: others ask for them."""
        return self.signature.input_schema(self.codec), self.signature.output_schema(self.codec)

    async def __call__(self, invocation: RpcInvocationData) -> str:
        members, arguments = self._load(invocation)
        try:
            if self.signature.context is None and not self.signature.streams:
                return self.codec.dumps(await self.function(**arguments))
            deadline = concurrency.current().current_effective_deadline()
            streams = self._answer_streams(invocation, members)
            async with CallContext(invocation, deadline, streams) as context:
                if self.signature.context is not None:
                    arguments[self.signature.context] = context
                if self.signature.streams:
                    return await self._stream(streams, arguments)
                return self.codec.dumps(await self.function(**arguments))
        except Exception as error:
            self._translate(error)
            raise

    def _load(self, invocation: RpcInvocationData) -> tuple[dict[str, msgspec.Raw], dict[str, Any]]:
        try:
            members = members_of(invocation.payload)
            return members, self.signature.load_arguments(self.codec, members)
        except InvalidValueError as error:
            invalid = InvalidArguments(self.name, error.path, error.expected)
        raise invalid

    def _answer_streams(
        self, invocation: RpcInvocationData, members: dict[str, msgspec.Raw]
    ) -> AnswerStreams:
        try:
            return AnswerStreams.of(invocation, members, self.open_stream)
        except InvalidValueError as error:
            invalid = InvalidArguments(self.name, error.path, error.expected)
        raise invalid

    def _translate(self, error: Exception) -> None:
        """Raise the error that the caller gets for one of a registered class."""
        if (failure := self.errors.to_rpc(sole_cause(error))) is not None:
            raise failure from error

    async def _stream(self, streams: AnswerStreams, arguments: dict[str, Any]) -> str:
        call = TAKEN_TOPIC, streams.caller_identity, streams.request_id
        if self.receiving.expects(*call):
            path = f"$.{REQUEST_ID_MEMBER}"
            raise InvalidArguments(self.name, path, "another call with this id is in flight")
        items = self.function(**arguments)
        async with aclosing(items):
            if ITEMS not in streams.accepts:
                return await self._collect(items)
            window = SendWindow.of(streams.accepts)
            with self.receiving.expect(*call, ends_with_sender=True) as confirmations:
                async with concurrency.open_service_nursery() as nursery:

                    async def read_confirmations() -> None:
                        await window.read(confirmations)
                        nursery.cancel_scope.cancel()

                    nursery.start_soon(read_confirmations)
                    await self._write(streams, items, window)
                    return "null"
        raise RpcError.built_in(
            RpcError.ErrorCode.RESPONSE_TIMEOUT, "the caller takes no more items"
        )

    async def _write(self, streams: AnswerStreams, items: Any, window: SendWindow) -> None:
        failure: Exception | None = None
        async with streams.open(ITEMS_TOPIC) as writer:
            try:
                async for item in items:
                    line = f"{self.codec.dumps(item)}\n"
                    await window.reserve(utf8_length(line))
                    await writer.write(line)
            except Exception as error:
                # For the response. LiveKit's SDK drops what was not read of a stream that breaks
                # off, so this one ends as others do.
                failure = error
        if failure is not None:
            raise failure

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
        _, arguments = self._load(invocation)
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
