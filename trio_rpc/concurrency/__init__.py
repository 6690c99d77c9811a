"""trio on trio, anyio elsewhere: the one module that knows which.

anyio adopted trio's vocabulary, so both backends are the same table of names: a nursery is a
nursery or a task group, a memory channel is a memory channel or a memory object stream. On trio the
table holds trio's own objects, which cost less than anyio's wrappers around them.

`current` is called once, when a room is joined or a server session starts; all later primitives
come from that `Backend`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Protocol, TypeAlias, TypeVar, TypeVarTuple, cast

import anyio
import anyio.lowlevel
import anyio.to_thread
import sniffio
import trio
from attrs import evolve, frozen

from . import on_asyncio

#: The errors of a channel's `send_nowait` and `receive_nowait` when they would have to wait.
WOULD_BLOCK = (trio.WouldBlock, anyio.WouldBlock)
#: The errors of a channel whose other end is gone.
CHANNEL_CLOSED = (
    trio.EndOfChannel,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    anyio.EndOfStream,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
)
#: The exceptions that cancel a task; to be caught by name, and always to be raised again.
CANCELLED = (trio.Cancelled, asyncio.CancelledError)
_ENDS_PROGRAM = (KeyboardInterrupt, SystemExit)


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)
Ts = TypeVarTuple("Ts")

#: An `async def` function: anyio's task groups start no other awaitables.
AsyncFunction = Callable[..., Coroutine[Any, Any, Any]]


class CancelScope(Protocol):
    """The common interface of `trio.CancelScope` and `anyio.CancelScope`."""

    @property
    def deadline(self) -> float: ...
    @deadline.setter
    def deadline(self, value: float, /) -> None: ...
    def __enter__(self) -> CancelScope: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool: ...
    @property
    def cancel_called(self) -> bool: ...
    @property
    def cancelled_caught(self) -> bool: ...
    def cancel(self) -> None: ...


class TaskStarter(Protocol):
    """An object that starts tasks, such as a nursery."""

    def start_soon(self, async_fn: AsyncFunction, /, *args: Any) -> object: ...


class Nursery(TaskStarter, Protocol):
    """The common interface of `trio.Nursery` and anyio's task group."""

    @property
    def cancel_scope(self) -> CancelScope: ...
    def start_soon(self, async_fn: AsyncFunction, /, *args: Any, name: object = None) -> object: ...
    async def start(self, async_fn: AsyncFunction, /, *args: Any, name: object = None) -> Any: ...


class Event(Protocol):
    """The common interface of `trio.Event` and `anyio.Event`."""

    def set(self) -> None: ...
    def is_set(self) -> bool: ...
    async def wait(self) -> None: ...


class SendChannel(Protocol[T_contra]):
    """The sending end of a memory channel."""

    def send_nowait(self, value: T_contra, /) -> None: ...
    def send(self, value: T_contra, /) -> Awaitable[None]: ...
    def close(self) -> None: ...


class ReceiveChannel(Protocol[T_co]):
    """The receiving end of a memory channel."""

    def receive_nowait(self) -> T_co: ...
    def receive(self) -> Awaitable[T_co]: ...
    def close(self) -> None: ...


#: Both ends of a memory channel.
ChannelEnds: TypeAlias = tuple[SendChannel[T], ReceiveChannel[T]]


class TaskStatus(Protocol):
    """The means by which a function that `nursery.start` runs reports that it has started."""

    def started(self, value: Any) -> None: ...


class _IgnoredTaskStatus:
    def started(self, value: Any) -> None:
        """Do nothing: the function was not run by `nursery.start`."""


IGNORED_TASK_STATUS: TaskStatus = _IgnoredTaskStatus()


class MakeCancelScope(Protocol):
    """A constructor of cancel scopes."""

    def __call__(self, *, deadline: float = math.inf, shield: bool = False) -> CancelScope: ...


class MoveOnAfter(Protocol):
    """A function that returns a cancel scope with a timeout in seconds."""

    def __call__(self, seconds: float, /, *, shield: bool = False) -> CancelScope: ...


class CapacityLimiter(Protocol):
    """The common interface of `trio.CapacityLimiter` and `anyio.CapacityLimiter`."""

    @property
    def total_tokens(self) -> float: ...


class RunSyncInThread(Protocol):
    """A function that calls another in a worker thread.

    Each library takes limiters of its own alone, so their type is not checked.
    """

    def __call__(
        self,
        sync_fn: Callable[[*Ts], T],
        /,
        *args: *Ts,
        abandon_on_cancel: bool = False,
        limiter: Any = None,
    ) -> Awaitable[T]: ...


@frozen
class Backend:
    """The primitives of structured concurrency, as one library has them."""

    name: str
    open_nursery: Callable[[], AbstractAsyncContextManager[Nursery]]
    #: Starts many short tasks in a nursery that ends by being cancelled.
    many_tasks: Callable[[Any], TaskStarter]
    cancel_scope: MakeCancelScope
    move_on_after: MoveOnAfter
    #: The items are of the type that the caller says: `ends: ChannelEnds[str] = …`.
    open_memory_channel: Callable[[int], ChannelEnds[Any]]
    event: Callable[[], Event]
    lock: Callable[[], AbstractAsyncContextManager[None]]
    capacity_limiter: Callable[[int], CapacityLimiter]
    run_sync_in_thread: RunSyncInThread
    current_time: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    sleep_forever: Callable[[], Awaitable[None]]
    current_effective_deadline: Callable[[], float]
    #: Gives every other task that is ready a turn.
    checkpoint: Callable[[], Awaitable[None]]
    checkpoint_if_cancelled: Callable[[], Awaitable[None]]
    #: Returns a function by which any thread can have another called in this event loop soon.
    run_sync_soon: Callable[[], Callable[[Callable[[], object]], object]]
    #: Returns an object for the running event loop, which no other has.
    event_loop: Callable[[], object]
    #: Returns the function by which the running event loop itself reads its clock.
    clock: Callable[[], Callable[[], float]]

    def of_this_loop(self) -> Backend:
        """Return the backend for the running event loop alone, whose clock it knows."""
        return evolve(self, current_time=self.clock())

    def is_cancelled(self) -> bool:
        """Whether the running task is cancelled: its next wait raises."""
        return self.current_effective_deadline() == -math.inf


TRIO = Backend(
    name="trio",
    open_nursery=trio.open_nursery,
    many_tasks=lambda nursery: nursery,
    cancel_scope=trio.CancelScope,
    move_on_after=trio.move_on_after,
    open_memory_channel=trio.open_memory_channel,
    event=trio.Event,
    lock=trio.Lock,
    capacity_limiter=trio.CapacityLimiter,
    run_sync_in_thread=trio.to_thread.run_sync,
    current_time=trio.current_time,
    sleep=trio.sleep,
    sleep_forever=trio.sleep_forever,
    current_effective_deadline=trio.current_effective_deadline,
    checkpoint=trio.lowlevel.checkpoint,
    checkpoint_if_cancelled=trio.lowlevel.checkpoint_if_cancelled,
    run_sync_soon=lambda: trio.lowlevel.current_trio_token().run_sync_soon,
    event_loop=trio.lowlevel.current_trio_token,
    clock=lambda: trio.lowlevel.current_clock().current_time,
)

ASYNCIO = Backend(
    name="asyncio",
    open_nursery=anyio.create_task_group,
    many_tasks=on_asyncio.ManyTasks,
    cancel_scope=on_asyncio.cancel_scope,
    move_on_after=on_asyncio.move_on_after,
    open_memory_channel=on_asyncio.open_memory_channel,
    event=on_asyncio.Event,
    lock=anyio.Lock,
    capacity_limiter=anyio.CapacityLimiter,
    run_sync_in_thread=anyio.to_thread.run_sync,
    current_time=on_asyncio.current_time,
    sleep=anyio.sleep,
    sleep_forever=anyio.sleep_forever,
    current_effective_deadline=anyio.current_effective_deadline,
    checkpoint=anyio.lowlevel.checkpoint,
    checkpoint_if_cancelled=anyio.lowlevel.checkpoint_if_cancelled,
    run_sync_soon=lambda: asyncio.get_running_loop().call_soon_threadsafe,
    event_loop=asyncio.get_running_loop,
    clock=lambda: asyncio.get_running_loop().time,
)


class Notifier:
    """A condition that tasks wait for, again and again."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._notified = backend.event()

    async def wait(self) -> None:
        """Wait for the next notification."""
        await self._notified.wait()

    def notify(self) -> None:
        """Wake all tasks that wait."""
        self._notified.set()
        self._notified = self._backend.event()


def current() -> Backend:
    """Return the backend of the running event loop.

    Raises:
        RuntimeError: no event loop is running, or one that is neither trio's nor asyncio's.
    """
    library = sniffio.current_async_library()
    if library == "trio":
        return TRIO
    if library == "asyncio":
        return ASYNCIO
    raise RuntimeError(f"trio_rpc runs on trio and asyncio, not on {library}")


@asynccontextmanager
async def open_service_nursery() -> AsyncGenerator[Nursery]:
    """Open a nursery for tasks that serve the block, and cancel them at its end.

    An exception of the block is raised unchanged, not in an exception group: code outside should
    not have to know that there is a nursery inside. The tasks must not raise; if one does, the
    group is raised.
    """
    block_error: BaseException | None = None
    try:
        async with current().open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as error:
                block_error = error
                raise
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if block_error is None or not _consists_of(group, block_error):
            raise
    else:
        return
    # Out here, so that the group does not become the context of its own member.
    raise block_error


def _consists_of(group: BaseExceptionGroup[BaseException], error: BaseException) -> bool:
    # trio takes its Cancelled out of nested groups, and makes new groups of the rest.
    own = {id(leaf) for leaf in leaves(error)}
    return all(id(leaf) in own or isinstance(leaf, CANCELLED) for leaf in leaves(group))


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Return the exceptions in a group and in the groups in it; of another exception, itself."""
    if isinstance(error, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from leaves(each)
    else:
        yield error


def failure_in(error: BaseException) -> BaseException | None:
    """Return the failure of foreign code that raised `error`, for a boundary that contains it.

    Returns:
        None if there was none, and the task or the program is to end. Then `error` has to be raised
        again.
    """
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        if group.subgroup(_ENDS_PROGRAM) is not None:
            return None
        return group.split(CANCELLED)[1]
    if isinstance(error, asyncio.CancelledError) and not current().is_cancelled():
        # It awaited an asyncio task that was cancelled: asyncio raises the same for that.
        failure = RuntimeError("a task that was awaited had been cancelled")
        failure.__cause__ = error
        return failure
    return None if isinstance(error, CANCELLED + _ENDS_PROGRAM) else error
