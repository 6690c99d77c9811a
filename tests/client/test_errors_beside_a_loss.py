"""Exceptions of the block of `Room.connect` while its room is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from attrs import define
from livekit.protocol import models, rtc

from trio_rpc import (
    DisconnectedError,
    DisconnectReason,
    PublishDataError,
    Room,
    RoomError,
    RpcError,
    StreamError,
)
from trio_rpc.links import Channel, Frame, Link, LinkClosedError

from ..support.lost_rooms import NOTE, REMOVED, lose, perform_rpc, remove
from ..support.scripted_server import ScriptedServer

pytestmark = pytest.mark.anyio


# Errors of the block at the same time


async def test_an_error_of_the_blocks_own_comes_out_with_a_note() -> None:
    server = ScriptedServer()

    async def be_there() -> None:
        async with Room().connect(server, "a token", reconnect=None):
            remove(server)
            try:
                await anyio.sleep_forever()
            finally:
                raise ValueError("of the block's own")

    with pytest.raises(ValueError, match=r"^of the block's own\n") as caught:
        await be_there()
    assert caught.value.__notes__ == [NOTE]


async def test_an_error_of_the_blocks_own_comes_out_of_a_group_beside_others() -> None:
    server = ScriptedServer()

    async def crash() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("of the block's own")

    async def publish(room: Room) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await room.local_participant.publish_data("bye")

    async def be_there() -> None:
        async with (
            Room().connect(server, "a token", reconnect=None) as room,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(crash)
            tasks.start_soon(publish, room)
            await anyio.wait_all_tasks_blocked()
            remove(server)

    with pytest.raises(ExceptionGroup) as caught:
        await be_there()
    assert {type(error) for error in caught.value.exceptions} == {ValueError, PublishDataError}
    assert caught.value.__notes__ == [NOTE]


async def test_an_answer_that_came_before_the_loss_counts() -> None:
    server = ScriptedServer()

    async def answer() -> None:
        request = (await server.expect_packet()).rpc_request
        error = models.RpcError(code=2001, message="out of stock")
        # Both are handled at once, before the caller has its turn.
        server.send_from("bob", rpc_response=models.RpcResponse(request_id=request.id, error=error))
        remove(server)

    async def be_there() -> None:
        async with Room().connect(server, "a token", reconnect=None) as room:
            await perform_rpc(room)

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(answer)
        with pytest.raises(RpcError, match="2001 out of stock") as caught:
            await be_there()
    assert caught.value.__notes__ == [NOTE]


async def test_errors_that_the_loss_causes_do_not_hide_it() -> None:
    server = ScriptedServer()

    async def be_there() -> None:
        async with Room().connect(server, "a token", reconnect=None) as room:
            remove(server)
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.move_on_after(1, shield=True):
                    await room.local_participant.publish_data("bye")

    with pytest.raises(DisconnectedError, match=f"^{REMOVED}$") as caught:
        await be_there()
    assert isinstance(caught.value.__cause__, PublishDataError)
    assert str(caught.value.__cause__) == f"not sent: {REMOVED}"


async def test_errors_of_several_tasks_that_the_loss_causes_do_not_hide_it() -> None:
    server = ScriptedServer()

    async def call(room: Room) -> None:
        with anyio.CancelScope(shield=True):
            await perform_rpc(room)

    async def stream(room: Room) -> None:
        with anyio.CancelScope(shield=True):
            writer = await room.local_participant.stream_text()
            await room.wait_disconnected()
            await writer.write("x")

    async def wait(room: Room) -> None:
        with anyio.CancelScope(shield=True):
            await room.wait_for_participant("nobody")

    async def be_there() -> None:
        async with (
            Room().connect(server, "a token", reconnect=None) as room,
            anyio.create_task_group() as tasks,
        ):
            for each in (call, stream, wait):
                tasks.start_soon(each, room)
            await anyio.wait_all_tasks_blocked()
            remove(server)

    with pytest.raises(DisconnectedError, match=f"^{REMOVED}$") as caught:
        await be_there()
    group = caught.value.__cause__
    assert isinstance(group, ExceptionGroup)
    errors = {RpcError, StreamError, DisconnectedError}
    assert {type(error) for error in group.exceptions} == errors


async def test_an_error_of_the_blocks_own_that_the_loss_caused_stays() -> None:
    class OrderFailedError(Exception):
        pass

    server = ScriptedServer()

    async def be_there() -> None:
        async with Room().connect(server, "a token", reconnect=None) as room:
            await lose(room, server)
            try:
                with anyio.CancelScope(shield=True):
                    await perform_rpc(room)
            except RpcError as error:
                raise OrderFailedError from error

    with pytest.raises(OrderFailedError) as caught:
        await be_there()
    assert caught.value.__notes__ == [NOTE]


async def test_an_error_with_itself_as_its_cause_comes_out() -> None:
    server = ScriptedServer()

    async def be_there() -> None:
        async with Room().connect(server, "a token", reconnect=None) as room:
            await lose(room, server)
            error = RoomError("of the block's own")
            raise error from error

    with pytest.raises(RoomError, match=r"^of the block's own\n") as caught:
        await be_there()
    assert caught.value.__notes__ == [NOTE]


async def test_a_block_that_ends_at_the_same_time_has_done_its_work() -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token", reconnect=None) as room:
        await lose(room, server)
    assert await room.wait_disconnected() is DisconnectReason.PARTICIPANT_REMOVED


# A link that ends before the session knows


@define(eq=False)
class _EndingLink:
    """A link whose writing half has ended, and whose reading half may follow."""

    link: Link
    ended: bool = False

    def send_nowait(self, frame: Frame, *, flush_follows: bool = False) -> None:
        if self.ended and frame.channel is not Channel.SIGNAL:
            raise LinkClosedError("reset by peer")
        self.link.send_nowait(frame, flush_follows=flush_follows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.link, name)


@define(eq=False)
class _EndingConnector:
    server: ScriptedServer
    link: Any = None

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncIterator[Link]:
        async with self.server.open_link(token, request) as link:
            self.link = _EndingLink(link)
            yield self.link


async def _publish(room: Room) -> None:
    await room.local_participant.publish_data("x")


async def _send_text(room: Room) -> None:
    await room.local_participant.send_text("x")


@pytest.mark.parametrize(
    ("do", "error_type"),
    [(_publish, PublishDataError), (perform_rpc, RpcError), (_send_text, StreamError)],
)
async def test_a_failed_write_is_a_lost_room_if_the_session_learns_of_it_in_a_moment(
    do: Callable[[Room], Awaitable[object]], error_type: type[RoomError]
) -> None:
    connector = _EndingConnector(ScriptedServer())

    async def end_it() -> None:
        await anyio.sleep(1)
        await connector.server.link.aclose("reset by peer")

    async def be_there() -> None:
        async with Room().connect(connector, "a token", reconnect=None) as room:
            connector.link.ended = True
            await do(room)

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(end_it)
        with pytest.raises(
            DisconnectedError, match=r"^the connection was lost: reset by peer$"
        ) as caught:
            await be_there()
    assert type(caught.value.__cause__) is error_type


async def test_a_failed_write_alone_is_no_lost_room() -> None:
    connector = _EndingConnector(ScriptedServer())

    async def be_there() -> None:
        async with Room().connect(connector, "a token", reconnect=None) as room:
            connector.link.ended = True
            await _publish(room)

    started = anyio.current_time()
    with pytest.raises(PublishDataError, match=r"^not sent: reset by peer$") as caught:
        await be_there()
    assert not hasattr(caught.value, "__notes__")
    assert anyio.current_time() - started <= 2
