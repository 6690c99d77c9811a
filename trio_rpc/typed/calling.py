"""Calling typed methods: with a contract, a class whose methods are those of the callee."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from attrs import field, frozen

from ..client.retrying import retried
from ..errors import RpcError
from ..participant import DEFAULT_RESPONSE_TIMEOUT
from ..protocol.retry import Retry
from ..streams import StreamOpening, TextStreamWriter
from .answer_streams import ACCEPTS_MEMBER
from .codec import Codec, InvalidValueError
from .context import PROGRESS
from .contracts import Contracts
from .errors import ErrorRegistry, InvalidResponse
from .methods import TypedMethods
from .outcome import Outcome
from .receiving import OnProgress, Receiving, new_request_id
from .serving import ITEMS, ITEMS_TOPIC
from .streaming import ItemStream, open_items
from .windows import TAKEN_TOPIC, ReceiveWindow, window_word

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


@frozen(kw_only=True)
class CallOptions:
    """The options of typed calls.

    Attributes:
        prefix: The prefix of the names of methods.
        timeout: Seconds that a whole call may take; None for the default.
        retry: The policy for calling again; None for never.
        on_progress: Called with each report of progress, and its message (T9).
    """

    prefix: str = ""
    timeout: float | None = None
    retry: Retry | None = None
    on_progress: OnProgress | None = None


@frozen(eq=False)
class TypedCaller:
    """Typed calls with the same options; `Room.with_options` returns one."""

    _room: TypedMethods = field(repr=False)
    _codec: Codec = field(repr=False)
    _contracts: Contracts = field(repr=False)
    _errors: ErrorRegistry = field(repr=False)
    _receiving: Receiving = field(repr=False)
    _window_size: int = field(repr=False)
    _pending: Counter[str] = field(repr=False)
    options: CallOptions

    async def call(
        self,
        method: Callable[Concatenate[Any, P], Awaitable[R]],
        identity: str,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Call a method of a contract; see `Room.call`."""
        signature = self._contracts.signature(method)
        if signature.streams:
            raise TypeError(
                f"method {signature.method!r} streams: `async with room.stream(…) as items`"
            )
        name = f"{self.options.prefix}{signature.method}"
        payload = self._dumps(identity, signature.bind(args, kwargs))
        self._pending[identity] += 1
        try:
            text = await self._perform(identity, name, payload)
        except RpcError as error:
            failure = self._errors.from_rpc(error)
            if failure is error:
                raise
            raise failure from error
        finally:
            self._pending[identity] -= 1
            if not self._pending[identity]:
                del self._pending[identity]
        return cast("R", self._load(signature.result, name, text))

    async def try_call(
        self,
        method: Callable[Concatenate[Any, P], Awaitable[R]],
        identity: str,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Outcome[R]:
        """Call a method of a contract, and return its outcome; see `Room.try_call`."""
        try:
            return Outcome(await self.call(method, identity, *args, **kwargs))
        except self._errors.travelling as error:
            return Outcome(error=error)

    async def call_json(self, identity: str, name: str, arguments: Mapping[str, Any]) -> Any:
        """Call a method by its name, without a contract; see `Room.call_json`."""
        name = f"{self.options.prefix}{name}"
        payload = self._dumps(identity, dict(arguments))
        try:
            text = await self._perform(identity, name, payload)
        except RpcError as error:
            failure = self._errors.from_rpc(error)
            if failure is error:
                raise
            raise failure from error
        return self._load(Any, name, text)

    @asynccontextmanager
    async def stream(
        self,
        method: Callable[Concatenate[Any, ...], AsyncIterator[R]],
        identity: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        idle_timeout: float | None,
    ) -> AsyncGenerator[ItemStream[R]]:
        """Call a method with a streamed answer; see `Room.stream`."""
        signature = self._contracts.signature(method)
        if not signature.streams:
            raise TypeError(f"method {signature.method!r} does not stream: `await room.call(…)`")
        name = f"{self.options.prefix}{signature.method}"
        arguments = signature.bind(args, kwargs)
        accepts = [ITEMS, window_word(self._window_size)]
        is_ours = self._receiving.is_ours(identity)
        if not is_ours:
            arguments[ACCEPTS_MEMBER] = " ".join(accepts)
        payload = self._codec.dumps(arguments)
        request_id = new_request_id()

        async def perform() -> str:
            try:
                return await self._room.local_participant.perform_rpc(
                    destination_identity=identity,
                    method=name,
                    payload=payload,
                    response_timeout=self.options.timeout,
                    request_id=request_id,
                    accepts=accepts,
                )
            except RpcError as error:
                failure = self._errors.from_rpc(error)
                if failure is error:
                    raise
                raise failure from error

        def open_confirmations() -> StreamOpening[TextStreamWriter]:
            return self._room.open_call_stream(identity, request_id, TAKEN_TOPIC)

        with self._receiving.expect(ITEMS_TOPIC, identity, request_id) as expectation:
            items: ItemStream[R] = ItemStream(
                expectation,
                lambda text: self._load(signature.result, name, text),
                lambda text: self._load(list[signature.result], name, text),  # type: ignore[name-defined]
                idle_timeout,
                ReceiveWindow(self._window_size, open_confirmations, tells_end=not is_ours),
                self.options.timeout,
            )
            async with open_items(items, perform):
                yield items

    async def _perform(self, identity: str, name: str, payload: str) -> str:
        options = self.options
        on_progress = options.on_progress
        if on_progress is None:
            return await self._room.local_participant.perform_rpc(
                destination_identity=identity,
                method=name,
                payload=payload,
                response_timeout=options.timeout,
                retry=options.retry,
            )

        async def attempt(seconds: float) -> str:
            return await self._receiving.call_with_progress(
                on_progress, identity, method=name, payload=payload, response_timeout=seconds
            )

        timeout = DEFAULT_RESPONSE_TIMEOUT if options.timeout is None else options.timeout
        return await retried(options.retry or Retry(attempts=1), timeout, attempt)

    def _dumps(self, identity: str, arguments: dict[str, Any]) -> str:
        if self.options.on_progress is not None and not self._receiving.is_ours(identity):
            arguments[ACCEPTS_MEMBER] = PROGRESS
        return self._codec.dumps(arguments)

    def _load(self, annotation: Any, name: str, text: str) -> Any:
        try:
            return self._codec.loads(annotation, text)
        except InvalidValueError as error:
            invalid = InvalidResponse(name, error.path, error.expected)
        raise invalid
