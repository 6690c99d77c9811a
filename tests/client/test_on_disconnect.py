"""A lost room and the block of `Room.connect`: `DisconnectedError`, and what it must not hide."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

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
from trio_rpc.server import RoomServer

from ..conftest import Join
from ..support.clients import Holding
from ..support.scripted_server import ScriptedServer, participant_info
from ..support.tokens import ROOM, make_token

pytestmark = pytest.mark.anyio

REMOVED: Final = "the server ended our stay: PARTICIPANT_REMOVED"
NOTE: Final = f"The room was lost meanwhile: {REMOVED}"


def remove(server: ScriptedServer) -> None:
    """Tell the participant that it was removed."""
    server.say(leave=rtc.LeaveRequest(reason=models.PARTICIPANT_REMOVED))


async def lose(room: Room, server: ScriptedServer) -> None:
    """Have the room lost, in a block that does not notice."""
    with anyio.CancelScope(shield=True):
        remove(server)
        await room.wait_disconnected()


async def perform_rpc(room: Room) -> str:
    return await room.local_participant.perform_rpc(
        destination_identity="bob", method="greet", payload=""
    )


# Reasons


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda server: server.remove_participant(ROOM, "alice"), "PARTICIPANT_REMOVED"),
        (lambda server: server.delete_room(ROOM), "ROOM_DELETED"),
        (lambda server: server.shut_down(), "SERVER_SHUTDOWN"),
    ],
)
async def test_the_server_ends_the_session(
    end: Callable[[RoomServer], Any], reason: str, server: RoomServer, join: Join
) -> None:
    events: list[DisconnectReason] = []
    room = Room()
    room.on("disconnected", events.append)

    async def be_there() -> None:
        async with join("alice", room=room):
            if (result := end(server)) is not None:
                await result
            await anyio.sleep_forever()

    with pytest.raises(DisconnectedError) as caught:
        await be_there()
    assert caught.value.reason is DisconnectReason[reason]
    assert caught.value.message == str(caught.value) == f"the server ended our stay: {reason}"
    assert events == [caught.value.reason] == [await room.wait_disconnected()]
    assert not room.isconnected()


async def test_somebody_else_joins_with_the_same_identity(server: RoomServer, join: Join) -> None:
    async def be_there() -> None:
        async with join("alice"), anyio.create_task_group() as task_group:
            task_group.start_soon(join_again)
            await anyio.sleep_forever()

    async def join_again() -> None:
        with anyio.CancelScope(shield=True):
            async with Room().connect(server, make_token("alice")) as other:
                assert other.isconnected()

    with pytest.raises(DisconnectedError) as caught:
        await be_there()
    assert caught.value.reason is DisconnectReason.DUPLICATE_IDENTITY


async def _cut(server: ScriptedServer) -> None:
    await server.link.aclose("broken")


async def _say_nothing(server: ScriptedServer) -> None:
    pass


async def _send_nonsense(server: ScriptedServer) -> None:
    for _ in range(101):
        await server.send_message(b"nonsense")


async def _say_what_we_do_not_know(server: ScriptedServer) -> None:
    server.say(leave=rtc.LeaveRequest(reason=99))  # type: ignore[arg-type]


async def _say_that_we_left(server: ScriptedServer) -> None:
    server.say(leave=rtc.LeaveRequest(reason=models.CLIENT_INITIATED))


@pytest.mark.parametrize(
    ("end", "reason", "message"),
    [
        (_cut, "SIGNAL_CLOSE", "the connection was lost: broken"),
        (_say_nothing, "CONNECTION_TIMEOUT", "the server was silent for 15 s"),
        (
            _send_nonsense,
            "STATE_MISMATCH",
            "the server sent more than 100 malformed messages",
        ),
        (_say_what_we_do_not_know, "UNKNOWN_REASON", "the server ended our stay: UNKNOWN_REASON"),
        (_say_that_we_left, "CLIENT_INITIATED", "the server ended our stay: CLIENT_INITIATED"),
    ],
)
async def test_the_connection_ends(
    end: Callable[[ScriptedServer], Awaitable[None]], reason: str, message: str
) -> None:
    server = ScriptedServer()

    async def be_there() -> None:
        async with Room().connect(server, "a token"):
            await end(server)
            await anyio.sleep_forever()

    with pytest.raises(DisconnectedError) as caught:
        await be_there()
    assert (caught.value.reason, str(caught.value)) == (DisconnectReason[reason], message)
    assert caught.value.__cause__ is None


async def test_a_room_that_is_lost_as_soon_as_it_is_joined() -> None:
    server = ScriptedServer()
    steps: list[str] = []

    async def be_there() -> None:
        connecting = Room().connect(server, "a token")
        async with connecting as room:
            remove(server)
            steps.append("joined")
            while True:
                await anyio.lowlevel.checkpoint()
                steps.append("there" if room.isconnected() else "gone")

    with pytest.raises(DisconnectedError, match=f"^{REMOVED}$"):
        await be_there()
    assert steps[0] == "joined"
    assert "gone" not in steps


# What the block is in the middle of


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
@pytest.mark.parametrize("end", [_cut, _say_that_we_left], ids=["cut", "leave"])
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
        server.send("bob", stream_header=header)
        await anyio.sleep(1)
        await end(server)

    async def be_there() -> None:
        async with room.connect(server, "a token"):
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
        async with Room().connect(holding, "a token") as room, anyio.create_task_group() as tasks:
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
        async with Room().connect(server, "a token") as room:
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
        async with room.connect(server, "a token"):
            request = models.RpcRequest(
                id="1", method="greet", response_timeout_ms=5_000, version=1
            )
            server.send("bob", rpc_request=request)
            server.announce(participant_info("carol"))
            await anyio.sleep(1)
            remove(server)
            await anyio.sleep_forever()

    with pytest.raises(DisconnectedError):
        await be_there()
    assert sorted(ended) == ["callback", "handler"]


# What the block raises at the same time


async def test_an_error_of_the_blocks_own_comes_out_with_a_note() -> None:
    server = ScriptedServer()

    async def be_there() -> None:
        async with Room().connect(server, "a token"):
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
        async with Room().connect(server, "a token") as room, anyio.create_task_group() as tasks:
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
        request = (await server.receive_packet()).rpc_request
        error = models.RpcError(code=2001, message="out of stock")
        # Both are handled at once, before the caller has its turn.
        server.send("bob", rpc_response=models.RpcResponse(request_id=request.id, error=error))
        remove(server)

    async def be_there() -> None:
        async with Room().connect(server, "a token") as room:
            await perform_rpc(room)

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(answer)
        with pytest.raises(RpcError, match="2001 out of stock") as caught:
            await be_there()
    assert caught.value.__notes__ == [NOTE]


async def test_errors_that_the_loss_causes_do_not_hide_it() -> None:
    server = ScriptedServer()

    async def be_there() -> None:
        async with Room().connect(server, "a token") as room:
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
        async with Room().connect(server, "a token") as room, anyio.create_task_group() as tasks:
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
        async with Room().connect(server, "a token") as room:
            await lose(room, server)
            try:
                await perform_rpc(room)
            except RpcError as error:
                raise OrderFailedError from error

    with pytest.raises(OrderFailedError) as caught:
        await be_there()
    assert caught.value.__notes__ == [NOTE]


async def test_an_error_with_itself_as_its_cause_comes_out() -> None:
    server = ScriptedServer()

    async def be_there() -> None:
        async with Room().connect(server, "a token") as room:
            await lose(room, server)
            error = RoomError("of the block's own")
            raise error from error

    with pytest.raises(RoomError, match=r"^of the block's own\n") as caught:
        await be_there()
    assert caught.value.__notes__ == [NOTE]


async def test_a_block_that_ends_at_the_same_time_has_done_its_work() -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token") as room:
        await lose(room, server)
    assert await room.wait_disconnected() is DisconnectReason.PARTICIPANT_REMOVED


# A link that ends before the session knows


@define(eq=False)
class _EndingLink:
    """A link whose writing half is told to have ended, and whose reading half may follow."""

    link: Link
    ended: bool = False

    def send_nowait(self, frame: Frame) -> None:
        if self.ended and frame.channel is not Channel.SIGNAL:
            raise LinkClosedError("reset by peer")
        self.link.send_nowait(frame)

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
    [(_publish, PublishDataError), (_call, RpcError), (_send_text, StreamError)],
)
async def test_a_failed_write_is_a_lost_room_if_the_session_learns_of_it_in_a_moment(
    do: Callable[[Room], Awaitable[None]], error_type: type[RoomError]
) -> None:
    connector = _EndingConnector(ScriptedServer())

    async def end_it() -> None:
        await anyio.sleep(1)
        await connector.server.link.aclose("reset by peer")

    async def be_there() -> None:
        async with Room().connect(connector, "a token") as room:
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
        async with Room().connect(connector, "a token") as room:
            connector.link.ended = True
            await _publish(room)

    started = anyio.current_time()
    with pytest.raises(PublishDataError, match=r"^not sent: reset by peer$") as caught:
        await be_there()
    assert not hasattr(caught.value, "__notes__")
    assert anyio.current_time() - started <= 2


# No loss


async def test_leaving_in_the_block_is_no_loss() -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token") as room:
        await room.disconnect()
        await server.link.aclose("broken")
        await anyio.sleep(60)
        with pytest.raises(PublishDataError, match=r"^not sent: we left the room$"):
            await room.local_participant.publish_data("x")


async def test_an_error_after_leaving_in_the_block_comes_out_as_it_is() -> None:
    server = ScriptedServer()

    async def be_there() -> None:
        async with Room().connect(server, "a token") as room:
            await room.disconnect()
            await room.local_participant.publish_data("x")

    with pytest.raises(PublishDataError, match=r"^not sent: we left the room$") as caught:
        await be_there()
    assert isinstance(caught.value.__cause__, DisconnectedError)
    assert not hasattr(caught.value, "__notes__")


async def test_the_first_of_leaving_and_losing_counts() -> None:
    server = ScriptedServer()

    async def be_there() -> None:
        async with Room().connect(server, "a token") as room:
            await lose(room, server)
            await room.disconnect()

    with pytest.raises(DisconnectedError, match=f"^{REMOVED}$"):
        await be_there()


async def test_the_block_goes_on_where_that_is_asked_for() -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token", on_disconnect="continue") as room:
        async with room.events() as events:
            remove(server)
            names = [event.name async for event in events]
        await anyio.sleep(60)
        with pytest.raises(RpcError) as caught:
            await perform_rpc(room)
    assert names == ["connection_state_changed", "disconnected"]
    assert (caught.value.code, caught.value.data) == (1503, REMOVED)


async def test_errors_from_the_loss_come_out_of_a_block_that_goes_on() -> None:
    server = ScriptedServer()

    async def be_there() -> None:
        async with Room().connect(server, "a token", on_disconnect="continue") as room:
            remove(server)
            await perform_rpc(room)

    with pytest.raises(RpcError) as caught:
        await be_there()
    assert (caught.value.code, caught.value.data) == (1503, REMOVED)
    assert not hasattr(caught.value, "__notes__")


async def test_anything_else_is_refused_before_joining() -> None:
    server = ScriptedServer()
    connecting = Room().connect(server, "a token", on_disconnect="ignore")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^on_disconnect is 'raise' or 'continue', not 'ignore'$"):
        await connecting.__aenter__()
    assert server.token is None


# Cancelled from outside


@pytest.mark.parametrize("first", ["loss", "cancellation"])
async def test_a_cancellation_from_outside_passes_through(first: str) -> None:
    server = ScriptedServer()
    with anyio.CancelScope() as scope:
        async with Room().connect(server, "a token") as room:

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
        async with Room().connect(server, "a token"):
            remove(server)
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(10)
                    cleaned_up.set()
    assert cleaned_up.is_set()
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
        async with Room().connect(server, "a token") as room:

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
        async with Room().connect(server, "a token") as room, asyncio.TaskGroup() as tasks:
            for each in (_call, _wait_for_participant, _sleep):
                tasks.create_task(each(room))
            await server.receive_packet()
            remove(server)

    with pytest.raises(DisconnectedError, match=f"^{REMOVED}$"):
        await be_there()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(1)


# Rooms after that, and rooms in rooms


async def test_a_lost_room_can_be_joined_again() -> None:
    room, server = Room(), ScriptedServer()
    for _ in range(2):
        with pytest.raises(DisconnectedError):
            await _be_removed(room, server)
    async with room.connect(server, "a token"):
        assert room.isconnected()


async def _be_removed(room: Room, server: ScriptedServer) -> None:
    async with room.connect(server, "a token"):
        remove(server)
        await anyio.sleep_forever()


async def test_the_loss_of_an_inner_room_comes_out_of_the_outer_one() -> None:
    outer, inner = ScriptedServer(), ScriptedServer()

    async def be_there() -> None:
        async with Room().connect(outer, "a token"):
            await _be_removed(Room(), inner)

    with pytest.raises(DisconnectedError, match=f"^{REMOVED}$") as caught:
        await be_there()
    assert not hasattr(caught.value, "__notes__")


async def test_the_loss_of_an_outer_room_cancels_the_inner_block() -> None:
    outer, inner = ScriptedServer(), ScriptedServer()
    inner_room = Room()

    async def be_there() -> None:
        async with Room().connect(outer, "a token"), inner_room.connect(inner, "a token"):
            remove(outer)
            await anyio.sleep_forever()

    with pytest.raises(DisconnectedError, match=f"^{REMOVED}$"):
        await be_there()
    assert await inner_room.wait_disconnected() is DisconnectReason.CLIENT_INITIATED


async def test_rooms_that_are_lost_together_are_one_error() -> None:
    servers = [ScriptedServer(), ScriptedServer()]

    async def be_there() -> None:
        async with Room().connect(servers[0], "a token"), Room().connect(servers[1], "a token"):
            for each in servers:
                remove(each)
            await anyio.sleep_forever()

    with pytest.raises(DisconnectedError, match=f"^{REMOVED}$"):
        await be_there()
