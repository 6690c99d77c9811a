"""Cancel an async function at each of its checkpoints, one after another.

A function is run again and again, in a cancel scope that is cancelled at the first step of its
tasks, then at the second, and so on, until it comes to its end without having been hit. A step is
what a task does between two waits. There are two moments to choose from:

* `Moment.WAITING`: the task has just begun to wait, and is torn out of it;
* `Moment.WOKEN`: what it waited for has come, and the next wait is where it hears of its end.

With `Whose.OWN` the steps of the task that runs the function count; with `Whose.ALL` those of all
tasks of the event loop, which hits the tasks that the function has started as well.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import asynccontextmanager, suppress
from enum import Enum, auto
from functools import partial
from typing import Any

import anyio
import pytest
import sniffio
import trio.lowlevel
from attrs import define

from ..support.waiting import wait_until


class Moment(Enum):
    WAITING = auto()
    WOKEN = auto()


class Whose(Enum):
    OWN = auto()
    ALL = auto()


#: Runs a test with each moment, and with the steps of one task and of all.
every_moment = pytest.mark.parametrize(
    ("moment", "whose"),
    [
        pytest.param(moment, whose, id=f"{moment.name.lower()}-{whose.name.lower()}")
        for moment in Moment
        for whose in Whose
    ],
)


@define(eq=False)
class Trap(trio.abc.Instrument):
    """Does something at the n-th step, such as cancelling a scope."""

    act: Callable[[], object]
    moment: Moment
    countdown: int
    task: trio.lowlevel.Task | None = None

    def on_step(self, moment: Moment) -> None:
        if moment is self.moment:
            self.countdown -= 1
            if self.countdown == 0:
                self.act()

    # What trio calls

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.task in (None, task):
            self.on_step(Moment.WOKEN)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.task in (None, task):
            self.on_step(Moment.WAITING)


@define
class _Stepped:
    """Awaits a coroutine step by step; asyncio's counterpart of trio's instruments."""

    coroutine: Coroutine[Any, Any, Any]
    trap: Trap

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = lambda: self.coroutine.send(None)  # noqa: E731
        while True:
            try:
                waited_for = step()
            except StopIteration as stop:
                return stop.value
            self.trap.on_step(Moment.WAITING)
            try:
                value = yield waited_for
            except BaseException as error:
                step = _bind(self.coroutine.throw, error)
            else:
                step = _bind(self.coroutine.send, value)
            self.trap.on_step(Moment.WOKEN)


def _bind(function: Callable[[Any], Any], argument: Any) -> Callable[[], Any]:
    return lambda: function(argument)


def _cancel(scope: anyio.CancelScope) -> None:
    # Not `anyio.CancelScope.cancel`: on asyncio, a scope is of another class.
    scope.cancel()


async def run_trapped(
    subject: Callable[[], Awaitable[object]],
    moment: Moment,
    whose: Whose,
    steps: int,
    act: Callable[[anyio.CancelScope], object] = _cancel,
) -> bool:
    """Run `subject`, cancelled after `steps` steps; returns whether it was hit.

    Args:
        act: What is done to it in place of cancelling the scope around it.
    """
    with anyio.CancelScope() as scope:
        trap = Trap(partial(act, scope), moment, steps)
        if sniffio.current_async_library() == "trio":
            async with _instrumented(trap, whose):
                await subject()
        elif whose is Whose.OWN:
            await _Stepped(_as_coroutine(subject), trap)
        else:
            async with _all_tasks_stepped(trap):
                await _Stepped(_as_coroutine(subject), trap)
    return trap.countdown <= 0


async def _as_coroutine(subject: Callable[[], Awaitable[object]]) -> None:
    await subject()


@asynccontextmanager
async def _instrumented(trap: Trap, whose: Whose) -> AsyncIterator[None]:
    if whose is Whose.OWN:
        trap.task = trio.lowlevel.current_task()
    trio.lowlevel.add_instrument(trap)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(trap)


@asynccontextmanager
async def _all_tasks_stepped(trap: Trap) -> AsyncIterator[None]:
    def factory(
        loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> asyncio.Task[Any]:
        async def run() -> Any:
            return await _Stepped(coroutine, trap)

        stepped: Any = run()
        stepped.__qualname__ = coroutine.__qualname__
        task = asyncio.Task(stepped, loop=loop, **options)
        # A task that is cancelled before it has begun does not get as far as the coroutine.
        task.add_done_callback(lambda _: coroutine.close())
        return task

    loop = asyncio.get_running_loop()
    previous = loop.get_task_factory()
    loop.set_task_factory(factory)
    try:
        yield
    finally:
        loop.set_task_factory(previous)


def living_tasks() -> Counter[str]:
    """Count the living tasks by name, the event loop's own included."""
    return Counter(_all_names())


def _all_names() -> list[str]:
    if sniffio.current_async_library() != "trio":
        return [_task_name(task) for task in asyncio.all_tasks()]
    root = trio.lowlevel.current_root_task()
    return [*_names_beneath(root)] if root else []


def _task_name(task: asyncio.Task[Any]) -> str:
    # anyio names a task after its function; asyncio itself numbers them, or calls them "None" where
    # there is a task factory (3.13.0).
    if not task.get_name().startswith(("Task-", "None")):
        return task.get_name()
    name: str = getattr(task.get_coro(), "__qualname__", "")
    return name


def _names_beneath(task: trio.lowlevel.Task) -> Iterator[str]:
    yield task.name
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from _names_beneath(child)


async def cancel_at_each_step(
    subject: Callable[[], Awaitable[object]],
    check: Callable[[], Awaitable[object]],
    *,
    moment: Moment,
    whose: Whose = Whose.OWN,
    limit: int = 150,
    act: Callable[[anyio.CancelScope], object] = _cancel,
) -> int:
    """Cancel `subject` at its first step, its second, …, and `check` the state after each.

    Args:
        limit: How many steps to try; a subject in real time may have any number.
        act: What is done in place of cancelling the scope around it.

    Returns:
        How many times it was hit.
    """
    await check()
    await anyio.wait_all_tasks_blocked()
    tasks_before = living_tasks()
    for steps in range(1, limit + 1):
        hit = await run_trapped(subject, moment, whose, steps, act)
        await check()
        await _settle(tasks_before)
        left = living_tasks() - tasks_before
        assert not left, f"tasks are left after step {steps}: {dict(left)}"
        if not hit:
            break
    gc.collect()  # whatever was not closed warns, and warnings are errors
    return steps


async def _settle(tasks: Counter[str]) -> None:
    """Let tasks end that have nothing to wait for any more, as those of a closed socket."""
    with suppress(TimeoutError):
        await wait_until(lambda: not living_tasks() - tasks)
