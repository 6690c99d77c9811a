"""Streamed answers at the caller (rule T8)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Generic, TypeVar

from .. import concurrency
from ..concurrency import CancelScope
from ..errors import RpcError, StreamError
from ..participant import DEFAULT_RESPONSE_TIMEOUT
from ..protocol.limits import utf8_length
from .receiving import Expectation, Lines
from .windows import ReceiveWindow

T = TypeVar("T")

_TIMED_OUT: Final = RpcError.ErrorCode.RESPONSE_TIMEOUT
#: Seconds for the error that says why the items broke off to come.
_GRACE: Final = 1.0


class ItemStream(Generic[T]):
    """The items of a streamed answer, as an async iterator.

    Iterating raises the error of the call, if it has one, after the items that came before it.
    """

    def __init__(
        self,
        expectation: Expectation,
        load_item: Callable[[str], T],
        load_list: Callable[[str], list[T]],
        idle_timeout: float | None,
        window: ReceiveWindow,
        timeout: float | None,
    ) -> None:
        self._backend = concurrency.current()
        self._expectation = expectation
        self._window = window
        self._load_item = load_item
        self._load_list = load_list
        self._idle_timeout = idle_timeout
        seconds = DEFAULT_RESPONSE_TIMEOUT if timeout is None else timeout
        self._deadline = self._backend.current_time() + seconds
        self._lines: Lines | None = None
        self._listed: deque[T] | None = None
        # Around the wait for the next line
        self._waiting: CancelScope | None = None
        # The outcome of the call
        self._response: str | None = None
        self._error: Exception | None = None
        self._over = self._backend.event()

    async def run(self, perform: Callable[[], Awaitable[str]]) -> None:
        """Make the call."""
        try:
            self._response = await perform()
        except Exception as error:
            self._error = error
        self._over.set()
        self._expectation.changed.set()
        if self._waiting is not None:
            # The stream may never end; what has come of it is still read.
            self._waiting.cancel()

    async def aclose(self) -> None:
        """Tell the callee that no more items are taken."""
        is_late = isinstance(self._error, RpcError) and self._error.code == _TIMED_OUT
        await self._window.aclose(early=is_late or not self._over.is_set())

    def __aiter__(self) -> ItemStream[T]:
        return self

    async def __anext__(self) -> T:
        idle_timeout = math.inf if self._idle_timeout is None else self._idle_timeout
        with self._backend.move_on_after(idle_timeout):
            return await self._next()
        raise RpcError.built_in(_TIMED_OUT, f"no item came for {idle_timeout:g} s")

    async def _next(self) -> T:
        if self._lines is None and self._listed is None:
            await self._expectation.changed.wait()
            if self._expectation.reader is not None:
                self._lines = Lines(self._expectation.reader)
        if self._lines is not None:
            try:
                await self._window.confirm()
                line = await self._next_line(self._lines)
            except StreamError as error:
                await self._raise_cause(error)
                raise
            if line is not None:
                self._window.add(utf8_length(line) + 1)
                return self._load_item(line)
            await self._over.wait()
        if self._error is not None:
            raise self._error
        if self._lines is None:
            if self._listed is None:
                assert self._response is not None
                self._listed = deque(self._load_list(self._response))
            if self._listed:
                return self._listed.popleft()
        raise StopAsyncIteration

    async def _next_line(self, lines: Lines) -> str | None:
        while not self._over.is_set():
            with self._backend.cancel_scope() as self._waiting:
                return await lines.next()
        # After an error, only what is there already.
        seconds = self._deadline - self._backend.current_time() if self._error is None else 0.0
        with self._backend.move_on_after(max(seconds, 0.0)):
            return await lines.next()
        if self._error is None:
            self._error = RpcError.built_in(_TIMED_OUT, "the items did not end after the response")
        return None

    async def _raise_cause(self, error: StreamError) -> None:
        """Raise the error of the call for which its items broke off."""
        with self._backend.move_on_after(_GRACE):
            await self._over.wait()
        raise self._error or RpcError.built_in(
            RpcError.ErrorCode.APPLICATION_ERROR, f"the items broke off: {error}"
        ) from error


@asynccontextmanager
async def open_items(
    items: ItemStream[T], perform: Callable[[], Awaitable[str]]
) -> AsyncGenerator[ItemStream[T]]:
    """Make a call with a streamed answer during the block, and cancel it at its end."""
    try:
        async with concurrency.open_service_nursery() as nursery:
            nursery.start_soon(items.run, perform)
            yield items
    finally:
        await items.aclose()
