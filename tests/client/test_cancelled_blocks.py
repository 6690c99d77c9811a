"""The block of `Room.connect` that is cancelled when its room is lost, or from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from livekit.protocol import models

from trio_rpc import (
    DisconnectedError,
    Room,
)
from trio_rpc.client.loss import OnDisconnect

from ..support.clients import Holding
from ..support.lost_rooms import REMOVED, cut_off, perform_rpc, remove, send_that_we_left
from ..support.scripted_server import ScriptedServer, participant_info

pytestmark = pytest.mark.anyio


# Activities of the block


async def _call(room: Room) -> None:
    await perform_rpc(room)


async def _set_metadata(room: Room) -> None:
    await room.local_participant.set_metadata("new")


async def _wait_for_participant(room: Room) -> None:
    await room.wait_for_participant("nobody")


async def _wait_disconnected(room: Room) -> None:
    await room.wait_disconnected()


async def _read_events(room: Room) -> None:
    async with room.events() as events:
        async for _ in events:
            pass


async def _read_a_stream(room: Room) -> None:
    opened = anyio.Event()
    readers: list[Any] = []

    def take(reader: Any, _sender: str) -> None:
        readers.append(reader)
        opened.set()

    room.register_text_stream_handler("notes", take)
    await opened.wait()
    async for _ in readers[0]:
        pass


async def _sleep(_room: Room) -> None:
    await anyio.sleep_forever()


async def _do_all_of_it(room: Room) -> None:
    async with anyio.create_task_group() as task_group:
        for each in (_call, _set_metadata, _wait_for_participant, _read_events, _sleep):
            task_group.start_soon(each, room)


@pytest.mark.parametrize(
    "do",
    [
        _call,
        _set_metadata,
        _wait_for_participant,
        _wait_disconnected,
        _read_events,
        _read_a_stream,
        _sleep,
        _do_all_of_it,
    ],
)
@pytest.mark.parametrize("end", [cut_off, send_that_we_left], ids=["cut", "leave"])
async def test_what_the_block_waits_for_is_cancelled(
    do: Callable[[Room], Awaitable[None]], end: Callable[[ScriptedServer], Awaitable[None]]
) -> None:
    local = participant_info("alice")
    local.permission.can_update_metadata = True
    server = ScriptedServer(local=local)
    outcomes: list[BaseException] = []
    room = Room()

    async def end_it() -> None:
        await anyio.wait_all_tasks_blocked()
        header = models.DataStream.Header(stream_id="1", topic="notes")
        header.text_header.SetInParent()
        server.send_from("bob", stream_header=header)
        await anyio.sleep(1)
        await end(server)

    async def be_there() -> None:
        async with room.connect(server, "a token", reconnect=None):
            try:
                await do(room)
            except BaseException as error:
                outcomes.append(error)
                raise

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(end_it)
        with pytest.raises(DisconnectedError) as caught:
            await be_there()
        task_group.cancel_scope.cancel()
    assert caught.value.__cause__ is None
    assert [type(error) for error in outcomes] == [anyio.get_cancelled_exc_class()]
    assert room.statistics().pending_calls == 0
    if isinstance(outcomes[0], asyncio.CancelledError):
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


async def test_what_waits_for_room_in_the_queue_is_cancelled() -> None:
    server = ScriptedServer()
    holding = Holding(server, lambda packet: packet.HasField("user"))

    async def be_there() -> None:
        async with (
            Room().connect(holding, "a token", reconnect=None) as room,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(room.local_participant.publish_data, "x")
            await holding.link.held.wait()
            await server.link.aclose("broken")

    with pytest.raises(DisconnectedError, match=r"^the connection was lost: broken$") as caught:
        await be_there()
    assert caught.value.__cause__ is None


async def test_a_shielded_scope_runs_to_its_end() -> None:
    server = ScriptedServer()
    steps: list[str] = []

    async def be_there() -> None:
        async with Room().connect(server, "a token", reconnect=None) as room:
            with anyio.CancelScope(shield=True):
                remove(server)
                await room.wait_disconnected()
                await anyio.sleep(10)
                steps.append("shielded")
            await anyio.lowlevel.checkpoint()
            steps.append("never")

    with pytest.raises(DisconnectedError, match=f"^{REMOVED}$"):
        await be_there()
    assert steps == ["shielded"]


async def test_handlers_and_callbacks_of_a_lost_room_end() -> None:
    server, room = ScriptedServer(), Room()
    ended: list[str] = []

    async def run(name: str) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(name)

    @room.register_rpc_method("greet")
    async def greet(_data: object) -> None:
        await run("handler")

    @room.on("participant_connected")
    async def on_participant_connected(_participant: object) -> None:
        await run("callback")

    async def be_there() -> None:
        async with room.connect(server, "a token", reconnect=None):
            request = models.RpcRequest(
                id="1", method="greet", response_timeout_ms=5_000, version=1
            )
            server.send_from("bob", rpc_request=request)
            server.announce(participant_info("carol"))
            await anyio.sleep(1)
            remove(server)
            await anyio.sleep_forever()

    with pytest.raises(DisconnectedError):
        await be_there()
    assert sorted(ended) == ["callback", "handler"]


# Cancelled from outside


@pytest.mark.parametrize("first", ["loss", "cancellation"])
async def test_a_cancellation_from_outside_passes_through(first: str) -> None:
    server = ScriptedServer()
    with anyio.CancelScope() as scope:
        async with Room().connect(server, "a token", reconnect=None) as room:

            @room.on("disconnected")
            def cancel(_reason: object) -> None:
                scope.cancel()

            if first == "cancellation":
                remove(server)
                scope.cancel()
            else:
                remove(server)
            await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_a_cancellation_while_the_block_cleans_up_passes_through() -> None:
    server = ScriptedServer()
    cleaned_up = anyio.Event()
    with anyio.move_on_after(5) as scope:
        async with Room().connect(server, "a token", reconnect=None):
            remove(server)
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(10)
                    cleaned_up.set()
    assert cleaned_up.is_set()
    assert scope.cancelled_caught


@pytest.mark.parametrize("on_disconnect", ["raise", "continue"])
async def test_a_shielded_close_that_comes_too_late_does_not_hide_a_cancellation(
    on_disconnect: OnDisconnect,
) -> None:
    server, room = ScriptedServer(), Room()
    with anyio.CancelScope() as scope:
        async with room.connect(server, "a token", reconnect=None, on_disconnect=on_disconnect):
            scope.cancel()
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    # The cancellation has ended the session as well.
                    await room.wait_disconnected()
                    await room.local_participant.publish_data("bye")
    assert scope.cancelled_caught


@pytest.mark.parametrize("loss_first", [True, False])
async def test_a_task_of_asyncios_that_is_cancelled_at_the_same_time_is_cancelled(
    anyio_backend_name: str, loss_first: bool
) -> None:
    if anyio_backend_name == "trio":
        pytest.skip("trio has no tasks that can be cancelled")
    server = ScriptedServer()
    entered = asyncio.Event()

    async def be_there() -> None:
        async with Room().connect(server, "a token", reconnect=None) as room:

            @room.on("disconnected")
            def cancel(_reason: object) -> None:
                if loss_first:
                    task.cancel()

            entered.set()
            await anyio.sleep_forever()

    task = asyncio.create_task(be_there())
    await entered.wait()
    remove(server)
    if not loss_first:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_task_group_of_asyncios_is_cancelled_with_the_block(
    anyio_backend_name: str,
) -> None:
    if anyio_backend_name == "trio":
        pytest.skip("trio has no task groups of asyncio's")
    server = ScriptedServer()

    async def be_there() -> None:
        async with (
            Room().connect(server, "a token", reconnect=None) as room,
            asyncio.TaskGroup() as tasks,
        ):
            for each in (_call, _wait_for_participant, _sleep):
                tasks.create_task(each(room))
            await server.expect_packet()
            remove(server)

    with pytest.raises(DisconnectedError, match=f"^{REMOVED}$"):
        await be_there()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(1)
