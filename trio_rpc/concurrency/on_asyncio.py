"""Memory channels, events, scopes and tasks on asyncio, where anyio's own cost more.

A task of anyio's has a handle, an event and a name besides its cancel scope, and each item of its
channels looks up the running task. These do the same for less, and the cancel scopes are anyio's:
so cancellation is a state of a scope here too, and not an exception that is raised once.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, TypeVar

import anyio
import anyio.abc
import anyio.lowlevel

T = TypeVar("T")

_AsyncFunction = Callable[..., Coroutine[Any, Any, Any]]
_Waiting = deque[asyncio.Future[None]]


@functools.cache
def _scope_class() -> type[anyio.CancelScope]:
    # That of asyncio alone: the public one finds out which library runs, for each scope.
    return type(anyio.CancelScope())


def cancel_scope(*, deadline: float = math.inf, shield: bool = False) -> anyio.CancelScope:
    """Return a cancel scope."""
    return _scope_class()(deadline=deadline, shield=shield)


def move_on_after(seconds: float, /, *, shield: bool = False) -> anyio.CancelScope:
    """Return a cancel scope with a timeout."""
    return _scope_class()(deadline=current_time() + seconds, shield=shield)


def current_time() -> float:
    """Return the time on the event loop's clock, which is that of the deadlines of scopes."""
    return asyncio.get_running_loop().time()


class Event(asyncio.Event):
    """An event whose `wait` is a checkpoint also when the event is set."""

    async def wait(self) -> None:  # type: ignore[override]
        if self.is_set():
            await anyio.lowlevel.checkpoint()
        else:
            await super().wait()


class SendEnd(Generic[T]):
    """The sending end of a memory channel, which holds its items.

    Args:
        max_buffer_size: The items that may wait in it, at least 1.
    """

    def __init__(self, max_buffer_size: int) -> None:
        self._max_buffer_size = max_buffer_size
        self._items: deque[T] = deque()
        self._senders: _Waiting = deque()
        self._receivers: _Waiting = deque()
        self._is_closed = False
        self._has_receiver = True

    def send_nowait(self, value: T, /) -> None:
        if self._is_closed:
            raise anyio.ClosedResourceError
        if not self._has_receiver:
            raise anyio.BrokenResourceError
        if len(self._items) >= self._max_buffer_size:
            raise anyio.WouldBlock
        self._items.append(value)
        if self._receivers:
            _wake_next(self._receivers)

    async def send(self, value: T, /) -> None:
        await anyio.lowlevel.checkpoint()
        while True:
            try:
                return self.send_nowait(value)
            except anyio.WouldBlock:
                await _wait(self._senders)

    def close(self) -> None:
        """Send nothing more; what is in the channel can still be received."""
        self._is_closed = True
        self._wake_all()

    def _wake_all(self) -> None:
        while self._senders or self._receivers:
            _wake_next(self._senders)
            _wake_next(self._receivers)


class ReceiveEnd(Generic[T]):
    """The receiving end of a memory channel."""

    def __init__(self, channel: SendEnd[T]) -> None:
        self._channel = channel
        self._items = channel._items
        self._is_closed = False

    def receive_nowait(self) -> T:
        channel = self._channel
        if self._is_closed:
            raise anyio.ClosedResourceError
        if self._items:
            value = self._items.popleft()
            if channel._senders:
                _wake_next(channel._senders)
            return value
        if channel._is_closed:
            raise anyio.EndOfStream
        raise anyio.WouldBlock

    async def receive(self) -> T:
        if self._items:
            await anyio.lowlevel.checkpoint()
        while not (self._items or self._is_closed or self._channel._is_closed):
            await _wait(self._channel._receivers)
        return self.receive_nowait()

    def close(self) -> None:
        """Receive nothing more; what is in the channel is dropped."""
        self._is_closed = True
        self._items.clear()
        self._channel._has_receiver = False
        self._channel._wake_all()


def open_memory_channel(max_buffer_size: int, /) -> tuple[SendEnd[Any], ReceiveEnd[Any]]:
    """Open a memory channel, with room for at least 1 item."""
    channel: SendEnd[Any] = SendEnd(max_buffer_size)
    return channel, ReceiveEnd(channel)


async def _wait(waiting: _Waiting) -> None:
    """Wait for one's turn to be woken."""
    waiter = asyncio.get_running_loop().create_future()
    waiting.append(waiter)
    try:
        await waiter
    except asyncio.CancelledError:
        if waiter.cancelled():
            with suppress(ValueError):
                waiting.remove(waiter)
        else:
            # Woken as well: another has to go on in its place.
            _wake_next(waiting)
        raise


def _wake_next(waiting: _Waiting) -> None:
    while waiting:
        waiter = waiting.popleft()
        if not waiter.done():
            waiter.set_result(None)
            break


class ManyTasks:
    """Tasks in a nursery that ends by being cancelled, at half the cost of its own.

    They are cancelled with the nursery, which waits for them, and the failure of one is that of the
    nursery. But a task does not see the deadlines of the scopes around the nursery.
    """

    def __init__(self, nursery: anyio.abc.TaskGroup) -> None:
        self._nursery = nursery
        self._scopes: dict[asyncio.Task[None], anyio.CancelScope] = {}
        self._last_ended = asyncio.Event()
        # Whether a task of the nursery watches over these, and whether it has been cancelled
        self._is_watched = self._is_ending = False
        self._start_watching()

    def _start_watching(self) -> None:
        self._nursery.start_soon(self._watch)
        self._is_watched = True

    def start_soon(self, async_fn: _AsyncFunction, /, *args: Any) -> None:
        """Start a task.

        Raises:
            RuntimeError: the nursery is closed.
        """
        if not self._is_watched:
            # The nursery is cancelled, and may be closed.
            self._start_watching()
        scope = cancel_scope()
        if self._is_ending:
            scope.cancel()
        task = asyncio.get_running_loop().create_task(_run(scope, async_fn, args))
        self._scopes[task] = scope
        task.add_done_callback(self._on_end)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        del self._scopes[task]
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._nursery.start_soon(_fail, failure)
        if self._is_ending and not self._scopes:
            self._last_ended.set()

    async def _watch(self) -> None:
        """Cancel the tasks with the nursery, and wait for them to end."""
        try:
            await anyio.sleep_forever()
        finally:
            self._is_ending = True
            for scope in self._scopes.values():
                scope.cancel()
            with cancel_scope(shield=True):
                while self._scopes:
                    self._last_ended.clear()
                    await self._last_ended.wait()
            self._is_watched = self._is_ending = False


async def _run(scope: anyio.CancelScope, async_fn: _AsyncFunction, args: tuple[Any, ...]) -> None:
    with scope:
        await async_fn(*args)


async def _fail(failure: BaseException) -> None:
    raise failure
