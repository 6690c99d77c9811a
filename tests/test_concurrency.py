"""trio's and anyio's primitives behind one table."""

from __future__ import annotations

from contextlib import suppress

import anyio
import attrs
import pytest
import sniffio
import trio

from trio_rpc import concurrency
from trio_rpc.concurrency import (
    CHANNEL_CLOSED,
    WOULD_BLOCK,
    AsyncFunction,
    Backend,
    open_service_nursery,
)

pytestmark = pytest.mark.anyio


# The backend in use


async def test_the_backend_is_that_of_the_running_event_loop(anyio_backend_name: str) -> None:
    backend = concurrency.current()
    assert backend.name == anyio_backend_name
    assert backend is (concurrency.TRIO if anyio_backend_name == "trio" else concurrency.ASYNCIO)


def test_outside_of_an_event_loop_there_is_no_backend() -> None:
    with pytest.raises(RuntimeError):
        concurrency.current()


def test_another_event_loop_is_named_in_the_refusal() -> None:
    token = sniffio.current_async_library_cvar.set("curio")
    try:
        with pytest.raises(RuntimeError, match=r"on trio and asyncio, not on curio$"):
            concurrency.current()
    finally:
        sniffio.current_async_library_cvar.reset(token)


def test_both_backends_have_all_primitives() -> None:
    for field in attrs.fields(Backend):
        for backend in (concurrency.TRIO, concurrency.ASYNCIO):
            assert getattr(backend, field.name) is not None
    assert concurrency.TRIO.open_nursery is trio.open_nursery


async def test_the_backend_of_an_event_loop_has_its_clock() -> None:
    backend = concurrency.current().of_this_loop()
    assert backend.name == concurrency.current().name
    started = backend.current_time()
    with backend.move_on_after(3) as scope:
        await backend.sleep_forever()
    assert backend.current_time() == scope.deadline == anyio.current_time() == started + 3


# The primitives


async def test_a_channel_delivers_in_order_and_tells_its_end() -> None:
    send, receive = concurrency.current().open_memory_channel(2)
    send.send_nowait(1)
    send.send_nowait(2)
    with pytest.raises(WOULD_BLOCK):
        send.send_nowait(3)
    send.close()
    assert [await receive.receive(), receive.receive_nowait()] == [1, 2]
    with pytest.raises(CHANNEL_CLOSED):
        await receive.receive()
    receive.close()
    with pytest.raises(CHANNEL_CLOSED):
        await receive.receive()


async def test_an_empty_channel_would_block() -> None:
    send, receive = concurrency.current().open_memory_channel(1)
    with pytest.raises(WOULD_BLOCK):
        receive.receive_nowait()
    receive.close()
    with pytest.raises(CHANNEL_CLOSED):
        send.send_nowait(1)
    with pytest.raises(CHANNEL_CLOSED):
        await send.send(1)
    send.close()


async def test_sleeping_takes_time_until_a_deadline() -> None:
    backend = concurrency.current()
    started = backend.current_time()
    await backend.sleep(60)
    assert backend.current_time() - started == pytest.approx(60)
    with backend.move_on_after(5) as scope:
        await backend.sleep_forever()
    assert scope.cancelled_caught
    assert backend.current_time() - started == pytest.approx(65)


async def test_a_deadline_can_be_moved_and_a_scope_shielded() -> None:
    backend = concurrency.current()
    started = backend.current_time()
    with backend.move_on_after(5) as outer:
        with backend.cancel_scope(shield=True, deadline=started + 10) as inner:
            inner.deadline = started + 20
            await backend.sleep_forever()
        assert inner.cancelled_caught
        await anyio.lowlevel.checkpoint()
    assert outer.cancelled_caught
    assert backend.current_time() - started == pytest.approx(20)


async def test_an_event_wakes_its_waiters() -> None:
    backend = concurrency.current()
    event = backend.event()
    assert not event.is_set()
    async with backend.open_nursery() as nursery:
        nursery.start_soon(event.wait)
        await anyio.lowlevel.checkpoint()
        event.set()
    assert event.is_set()


@pytest.mark.real_time
async def test_a_function_runs_in_a_thread() -> None:
    backend = concurrency.current()
    result = await backend.run_sync_in_thread(
        lambda first, second: first + second,
        1,
        2,
        abandon_on_cancel=True,
        limiter=backend.capacity_limiter(1),
    )
    assert result == 3


# The service nursery


async def serve_forever(ends: list[str]) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        ends.append("ended")


async def raise_in_block(error: BaseException, task: AsyncFunction, *args: object) -> None:
    """Raise in the block of a service nursery in which a task runs."""
    async with open_service_nursery() as nursery:
        nursery.start_soon(task, *args)
        await anyio.lowlevel.checkpoint()
        raise error


async def test_the_tasks_of_a_service_nursery_end_with_its_block() -> None:
    ends: list[str] = []
    async with open_service_nursery() as nursery:
        nursery.start_soon(serve_forever, ends)
        nursery.start_soon(serve_forever, ends)
        await anyio.lowlevel.checkpoint()
        assert ends == []
    assert ends == ["ended"] * 2


@pytest.mark.parametrize(
    "error",
    [
        LookupError("of the block"),
        ExceptionGroup("of the block", [LookupError("one"), OSError("two")]),
        BaseExceptionGroup("of the block", [ExceptionGroup("inner", [OSError("nested")])]),
        SystemExit(3),
    ],
    ids=["error", "group", "nested group", "exit"],
)
async def test_what_a_block_raises_comes_out_of_its_service_nursery_as_it_is(
    error: BaseException,
) -> None:
    ends: list[str] = []
    with pytest.raises(type(error)) as caught:
        await raise_in_block(error, serve_forever, ends)
    assert caught.value is error
    assert caught.value.__context__ is None
    assert ends == ["ended"]


async def test_service_nurseries_in_each_other_let_an_error_through_as_it_is() -> None:
    error = LookupError("of the block")

    async def nested() -> None:
        async with open_service_nursery() as outer:
            outer.start_soon(serve_forever, [])
            await raise_in_block(error, serve_forever, [])

    with pytest.raises(LookupError) as caught:
        await nested()
    assert caught.value is error


async def test_cancelling_the_block_of_a_service_nursery_is_nothing_special() -> None:
    ends: list[str] = []
    with anyio.move_on_after(5) as scope:
        async with open_service_nursery() as nursery:
            nursery.start_soon(serve_forever, ends)
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert ends == ["ended"]


async def test_a_task_that_fails_cancels_its_service_nursery_and_comes_out_in_a_group() -> None:
    async def fail() -> None:
        raise LookupError("of a task")

    ends: list[str] = []

    async def block() -> None:
        async with open_service_nursery() as nursery:
            nursery.start_soon(serve_forever, ends)
            nursery.start_soon(fail)
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await block()
    assert [str(error) for error in caught.value.exceptions] == ["of a task"]
    assert ends == ["ended"]


async def test_an_error_of_the_block_does_not_hide_that_of_a_task() -> None:
    async def fail_when_cancelled() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise OSError("of a task")

    with pytest.raises(ExceptionGroup) as caught:
        await raise_in_block(LookupError("of the block"), fail_when_cancelled)
    assert {type(error) for error in caught.value.exceptions} == {LookupError, OSError}


async def test_a_task_of_a_service_nursery_can_be_started() -> None:
    async def start(*, task_status: concurrency.TaskStatus) -> None:
        task_status.started("a value")
        await anyio.sleep_forever()

    async with open_service_nursery() as nursery:
        assert await nursery.start(start) == "a value"


def test_nobody_listens_to_the_status_of_a_task_that_was_not_started() -> None:
    assert concurrency.IGNORED_TASK_STATUS.started("a value") is None  # type: ignore[func-returns-value]


# The primitives that are our own on asyncio, where each is to be as trio's


async def test_a_sender_waits_for_room_and_several_receivers_take_turns() -> None:
    send, receive = concurrency.current().open_memory_channel(1)
    received: list[tuple[str, int]] = []

    async def receive_two(name: str) -> None:
        received.extend([(name, await receive.receive()) for _ in range(2)])

    async with concurrency.current().open_nursery() as nursery:
        nursery.start_soon(receive_two, "a")
        nursery.start_soon(receive_two, "b")
        await anyio.wait_all_tasks_blocked()
        for number in range(4):
            await send.send(number)
    assert sorted(number for _, number in received) == [0, 1, 2, 3]
    assert {name for name, _ in received} == {"a", "b"}


async def test_many_senders_and_receivers_lose_nothing() -> None:
    send, receive = concurrency.current().open_memory_channel(1)
    received: list[int] = []

    async def send_some(first: int) -> None:
        for number in range(first, first + 5):
            await send.send(number)

    async def receive_some() -> None:
        received.extend([await receive.receive() for _ in range(5)])

    async with concurrency.current().open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(send_some, 5 * number)
            nursery.start_soon(receive_some)
    assert sorted(received) == list(range(50))


@pytest.mark.parametrize("is_sent_first", [True, False])
async def test_a_cancelled_receiver_takes_nothing_with_it(is_sent_first: bool) -> None:
    send, receive = concurrency.current().open_memory_channel(2)
    received: list[int] = []

    async def receive_one() -> None:
        received.append(await receive.receive())

    async with concurrency.current().open_nursery() as nursery:
        with concurrency.current().cancel_scope() as scope:
            async with concurrency.current().open_nursery() as cancelled:
                cancelled.start_soon(receive_one)
                await anyio.wait_all_tasks_blocked()
                nursery.start_soon(receive_one)
                await anyio.wait_all_tasks_blocked()
                # Both in the same tick: the item is for the other one, if not for the first.
                if is_sent_first:
                    send.send_nowait(1)
                    scope.cancel()
                else:
                    scope.cancel()
                    send.send_nowait(1)
        send.send_nowait(2)
    with suppress(*WOULD_BLOCK):
        received.append(receive.receive_nowait())
    assert sorted(received) == [1, 2]


async def test_a_cancelled_sender_has_sent_nothing() -> None:
    send, receive = concurrency.current().open_memory_channel(1)
    send.send_nowait(1)
    with concurrency.current().move_on_after(5) as scope:
        await send.send(2)
    assert scope.cancelled_caught

    async def send_another() -> None:
        await send.send(3)

    async with concurrency.current().open_nursery() as nursery:
        nursery.start_soon(send_another)
        await anyio.wait_all_tasks_blocked()
        assert [await receive.receive(), await receive.receive()] == [1, 3]


async def test_closing_an_end_of_a_channel_wakes_those_at_the_other() -> None:
    backend = concurrency.current()
    full, never_read = backend.open_memory_channel(1)
    never_sent, empty = backend.open_memory_channel(1)
    full.send_nowait(1)
    ends: list[str] = []

    async def send() -> None:
        with pytest.raises(CHANNEL_CLOSED):
            await full.send(2)
        ends.append("sender")

    async def receive() -> None:
        with pytest.raises(CHANNEL_CLOSED):
            await empty.receive()
        ends.append("receiver")

    async with backend.open_nursery() as nursery:
        nursery.start_soon(send)
        nursery.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        never_read.close()
        never_sent.close()
    assert sorted(ends) == ["receiver", "sender"]
    with pytest.raises(CHANNEL_CLOSED):
        never_read.receive_nowait()
    with pytest.raises(CHANNEL_CLOSED):
        never_sent.send_nowait(1)


async def test_receiving_and_waiting_for_what_has_happened_are_checkpoints() -> None:
    backend = concurrency.current()
    send, receive = backend.open_memory_channel(1)
    send.send_nowait(1)
    event = backend.event()
    event.set()
    for wait in (receive.receive, event.wait):
        with backend.cancel_scope() as scope:
            scope.cancel()
            await wait()
        assert scope.cancelled_caught
    assert receive.receive_nowait() == 1
    with backend.cancel_scope() as scope:
        scope.cancel()
        await send.send(2)
    assert scope.cancelled_caught
    with pytest.raises(WOULD_BLOCK):
        receive.receive_nowait()


# Many tasks


async def test_many_tasks_end_with_their_nursery() -> None:
    ends: list[str] = []
    async with concurrency.current().open_nursery() as nursery:
        tasks = concurrency.current().many_tasks(nursery)
        for _ in range(3):
            tasks.start_soon(serve_forever, ends)
        await anyio.wait_all_tasks_blocked()
        assert ends == []
        # One that has not begun when it is cancelled begins all the same.
        tasks.start_soon(serve_forever, ends)
        nursery.cancel_scope.cancel()
    assert ends == ["ended"] * 4
    with pytest.raises(RuntimeError):
        tasks.start_soon(serve_forever, ends)


async def test_a_cancelled_task_of_many_stays_cancelled() -> None:
    waits: list[str] = []

    async def go_on() -> None:
        for name in ("first", "second"):
            try:
                await anyio.sleep_forever()
            except concurrency.CANCELLED:
                waits.append(name)
        await anyio.sleep_forever()

    async with concurrency.current().open_nursery() as nursery:
        concurrency.current().many_tasks(nursery).start_soon(go_on)
        await anyio.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert waits == ["first", "second"]


async def test_a_nursery_waits_for_many_tasks_and_those_that_they_start() -> None:
    ends: list[str] = []

    async def start_another(tasks: concurrency.TaskStarter) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            tasks.start_soon(serve_forever, ends)
            with anyio.CancelScope(shield=True):
                await anyio.sleep(5)
            tasks.start_soon(serve_forever, ends)
            ends.append("ended late")

    started = anyio.current_time()
    async with concurrency.current().open_nursery() as nursery:
        tasks = concurrency.current().many_tasks(nursery)
        tasks.start_soon(start_another, tasks)
        await anyio.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert anyio.current_time() - started == pytest.approx(5)
    assert sorted(ends) == ["ended", "ended", "ended late"]


async def test_the_failure_of_one_of_many_tasks_is_that_of_the_nursery() -> None:
    ends: list[str] = []

    async def fail() -> None:
        raise LookupError("of a task")

    async def block() -> None:
        async with concurrency.current().open_nursery() as nursery:
            tasks = concurrency.current().many_tasks(nursery)
            tasks.start_soon(serve_forever, ends)
            tasks.start_soon(fail)
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await block()
    assert [str(error) for error in caught.value.exceptions] == ["of a task"]
    assert ends == ["ended"]
