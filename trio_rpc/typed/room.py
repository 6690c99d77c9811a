"""`Room`: what `client.room` has, and typed calls."""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Concatenate, Final, ParamSpec, TypeVar, Unpack, cast

from .. import concurrency
from ..client.options import RoomLimits
from ..participant import DEFAULT_RESPONSE_TIMEOUT
from ..protocol.retry import Retry
from ..protocol.stream_content import DEFAULT_MAX_STREAM_BYTES
from .calling import CallOptions, TypedCaller
from .codec import Codec
from .contracts import Client, Contracts
from .finding import MethodFinder
from .many import Answers, ask_many
from .outcome import Outcome
from .receiving import OnProgress
from .streaming import ItemStream
from .windows import DEFAULT_WINDOW

#: Seconds that a call gets at least, after the question for the methods.
_LEAST_TIMEOUT: Final = 0.001

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Room(MethodFinder):
    """A room of participants that call each other's methods.

    Args:
        loop: Accepted, as in LiveKit's SDK, and without effect: a room belongs to the event loop
            in which it is joined.
        codec: The conversion between values and JSON; msgspec's unless given.
        discoverable: Whether we tell others our methods, by the built-in `rpc.discover` (T10).
        max_round_trip_latency: Seconds in which the callee must acknowledge a call (C2).
        max_concurrent_handlers: The most invocations of our methods that run at the same time;
            further requests wait, while their time runs (A13).
        max_waiting_requests: The most requests of one caller that wait; further ones are answered
            with 1500 (B5).
        max_payload_bytes: The largest request or response of ours, in UTF-8, if the peer speaks
            RPC v2 (C10). For other peers the limit is always 15,360 bytes.
        max_stream_bytes: The most bytes of a data stream that wait to be read, and that `read_all`
            reads (S7).
        max_peer_streams: The most open data streams of one participant (B5).
        max_streams: The most open data streams of all participants (B5).
        max_peer_bytes: The most bytes that one participant may make us hold, in requests that are
            not answered and streams that are not read (B4); more is refused. A text counts twice
            until it is put together. By default, 2.2 times `max_stream_bytes`, and at least 32 MiB.
        max_peers_bytes: The same for all participants together; by default, at least 256 MiB.

    Raises:
        ValueError: a limit is not above 0.
    """

    def __init__(
        self,
        loop: object = None,
        *,
        codec: Codec | None = None,
        discoverable: bool = True,
        **limits: Unpack[RoomLimits],
    ) -> None:
        super().__init__(loop, codec=codec, discoverable=discoverable, **limits)
        self._contracts = Contracts(self._codec)
        # A quarter of what a stream may hold unread
        max_stream_bytes = limits.get("max_stream_bytes", DEFAULT_MAX_STREAM_BYTES)
        self._window_size = max(1, min(DEFAULT_WINDOW, max_stream_bytes // 4))
        self._caller = self._typed_caller(CallOptions())

    def _typed_caller(self, options: CallOptions) -> TypedCaller:
        return TypedCaller(
            self,
            self._codec,
            self._contracts,
            self._errors,
            self._receiving,
            self._window_size,
            self._pending,
            options,
        )

    def client(
        self,
        contract: Callable[..., T],
        identity: str,
        *,
        prefix: str = "",
        timeout: float | None = None,
        retry: Retry | None = None,
        on_progress: OnProgress | None = None,
    ) -> T:
        """Return an object with the methods of a contract, which call those of a participant.

            kitchen = room.client(Kitchen, "bob", timeout=5)
            pieces = await kitchen.slice(Order("carrot", 150), times=2)

        Args:
            contract: A class with the methods' signatures, such as a Protocol. Its code is not run.
            identity: The identity of the callee, which need not be in the room yet.
            prefix: The prefix of the methods' names.
            timeout: Seconds that each call may take, with all attempts; 10 unless given.
            retry: The policy for calling again (T4).
            on_progress: Called with each report of progress, and its message (T9).

        Raises:
            TypeError: it is no class with methods, or one of these cannot be called with arguments
                in JSON (T13).
        """
        caller = self.with_options(
            prefix=prefix, timeout=timeout, retry=retry, on_progress=on_progress
        )
        methods = self._contracts.methods_of(contract)
        calls = {name: partial(caller.call, each, identity) for name, each in methods.items()}
        return cast("T", Client(cast("type", contract).__name__, identity, calls))

    def with_options(
        self,
        *,
        prefix: str = "",
        timeout: float | None = None,
        retry: Retry | None = None,
        on_progress: OnProgress | None = None,
    ) -> TypedCaller:
        """Return an object with `call` and `try_call` that take these options; see `client`."""
        return self._typed_caller(
            CallOptions(prefix=prefix, timeout=timeout, retry=retry, on_progress=on_progress)
        )

    async def call(
        self,
        method: Callable[Concatenate[Any, P], Awaitable[R]],
        identity: str,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Call a method of a contract, and return its result.

            pieces = await room.call(Kitchen.slice, "bob", Order("carrot", 150))

        Args:
            method: The method of a contract, whose name and signature it takes.
            identity: The identity of the callee.
            *args, **kwargs: The arguments of the method.

        Raises:
            Exception: of a class that `errors` knows: the handler raised it (T3).
            InvalidArguments: the callee does not accept the arguments.
            InvalidResponse: the result does not fit the contract.
            RpcError: the call failed otherwise.
            TypeError: the arguments do not fit the contract, or that is none (T13).

        Source: rules T1 to T3.
        """
        return await self._caller.call(method, identity, *args, **kwargs)

    async def try_call(
        self,
        method: Callable[Concatenate[Any, P], Awaitable[R]],
        identity: str,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Outcome[R]:
        """Call a method of a contract, and return its outcome in place of raising an error (T5).

        Args and further errors are those of `call`: what is wrong with the call itself, a
        `TypeError`, is raised.
        """
        return await self._caller.try_call(method, identity, *args, **kwargs)

    async def call_json(
        self,
        identity: str,
        name: str,
        arguments: Mapping[str, Any],
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        retry: Retry | None = None,
        on_progress: OnProgress | None = None,
    ) -> Any:
        """Call a method by its name, without a contract: for tools that are discovered.

        Args:
            identity: The identity of the callee.
            name: The name of the method.
            arguments: The arguments by name.
            timeout: Seconds that the call may take, with all attempts; 10 unless given.
            retry: The policy for calling again (T4).
            on_progress: Called with each report of progress, and its message (T9).

        Returns:
            The result as JSON has it: of dicts, lists, texts, numbers, booleans and None.

        Raises:
            Exception: the errors of `call`.
        """
        caller = self.with_options(timeout=timeout, retry=retry, on_progress=on_progress)
        return await caller.call_json(identity, name, arguments)

    def stream(
        self,
        method: Callable[Concatenate[Any, ...], AsyncIterator[R]],
        identity: str,
        /,
        *args: Any,
        prefix: str = "",
        timeout: float | None = None,
        idle_timeout: float | None = None,
        **kwargs: Any,
    ) -> AbstractAsyncContextManager[ItemStream[R]]:
        """Call a method that streams, and iterate over its items in the block.

            async with room.stream(Kitchen.watch, "bob", "pan 1", timeout=60) as items:
                async for temperature in items:
                    ...

        Leaving the block cancels the handler. A callee that is ahead of the program by 256 KiB, or
        a quarter of `max_stream_bytes`, waits. A callee that does not stream answers with a list,
        whose items come together.

        Args:
            method: The method of a contract.
            identity: The identity of the callee.
            *args, **kwargs: The arguments of the method.
            prefix: The prefix of the method's name.
            timeout: Seconds that all of it may take; 10 unless given.
            idle_timeout: Seconds that the next item may take, each time; no limit unless given.

        Raises:
            RpcError: when iterating, the call failed, after the items that came before; 1502 for
                either timeout. Further errors are those of `call`.
            TypeError: the arguments do not fit the contract, or the method does not stream.

        Source: rule T8.
        """
        caller = self.with_options(prefix=prefix, timeout=timeout)
        return caller.stream(method, identity, args, kwargs, idle_timeout)

    def call_many(
        self,
        method: Callable[Concatenate[Any, ...], Awaitable[R]],
        args: Sequence[Any] | Mapping[str, Any] = (),
        *,
        to: Collection[str] | None = None,
        enough: int | None = None,
        prefix: str = "",
        timeout: float | None = None,
    ) -> AbstractAsyncContextManager[Answers[R]]:
        """Call a method of several participants at once, and iterate over their answers.

            async with room.call_many(Kitchen.slice, [order], to=["bob", "carol"]) as answers:
                async for identity, outcome in answers:
                    ...

        Leaving the block cancels the calls that have no answer yet, and their handlers.

        Args:
            method: The method of a contract.
            args: Its arguments, by position or by name.
            to: The identities of the callees; unless given, all that tell that they have it.
            enough: The number of values, not errors, after which the iteration ends.
            prefix: The prefix of the method's name.
            timeout: Seconds that each callee may take; 10 unless given.

        Raises:
            TypeError: the arguments do not fit the contract, or `to` is a single text.
            ValueError: `enough` is below 1.

        Source: rule T7.
        """
        if isinstance(to, str):
            raise TypeError("to is a collection of identities, not one of them")
        if enough is not None and enough < 1:
            raise ValueError(f"enough is a number from 1, not {enough}")
        by_name = dict(args) if isinstance(args, Mapping) else {}
        by_position = () if isinstance(args, Mapping) else tuple(args)
        signature = self._contracts.signature(method)
        signature.bind(by_position, by_name)
        seconds = DEFAULT_RESPONSE_TIMEOUT if timeout is None else timeout

        async def ask(identity: str) -> Outcome[R] | None:
            backend = concurrency.current()
            deadline = backend.current_time() + seconds
            if to is None:
                name = f"{prefix}{signature.method}"
                if not await self._tells(identity, name, seconds):
                    return None
            remaining = max(deadline - backend.current_time(), _LEAST_TIMEOUT)
            caller = self.with_options(prefix=prefix, timeout=remaining)
            return await caller.try_call(method, identity, *by_position, **by_name)

        identities = self.remote_participants if to is None else to
        return ask_many([*dict.fromkeys(identities)], ask, enough)
