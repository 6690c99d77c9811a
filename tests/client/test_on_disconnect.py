"""The loss of a room: the reasons for it, and what is none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from livekit.protocol import rtc

from trio_rpc import (
    DisconnectedError,
    DisconnectReason,
    PublishDataError,
    Room,
    RpcError,
)
from trio_rpc.server import RoomServer

from ..conftest import Join
from ..support.lost_rooms import REMOVED, cut_off, lose, perform_rpc, remove, send_that_we_left
from ..support.scripted_server import ScriptedServer
from ..support.tokens import ROOM, make_token

pytestmark = pytest.mark.anyio


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
    assert caught.value.message == str(caught.value) == f"the server ended our session: {reason}"
    assert events == [caught.value.reason] == [await room.wait_disconnected()]
    assert not room.isconnected()


async def test_another_participant_joins_with_the_same_identity(
    server: RoomServer, join: Join
) -> None:
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


async def _say_nothing(server: ScriptedServer) -> None:
    pass


async def _send_nonsense(server: ScriptedServer) -> None:
    for _ in range(101):
        await server.send_message(b"nonsense")


async def _say_what_we_do_not_know(server: ScriptedServer) -> None:
    server.send_signal(leave=rtc.LeaveRequest(reason=99))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("end", "reason", "message"),
    [
        (cut_off, "SIGNAL_CLOSE", "the connection was lost: broken"),
        (_say_nothing, "CONNECTION_TIMEOUT", "the server was silent for 15 s"),
        (
            _send_nonsense,
            "STATE_MISMATCH",
            "the server sent more than 100 malformed messages",
        ),
        (
            _say_what_we_do_not_know,
            "UNKNOWN_REASON",
            "the server ended our session: UNKNOWN_REASON",
        ),
        (send_that_we_left, "CLIENT_INITIATED", "the server ended our session: CLIENT_INITIATED"),
    ],
)
async def test_the_connection_ends(
    end: Callable[[ScriptedServer], Awaitable[None]], reason: str, message: str
) -> None:
    server = ScriptedServer()

    async def be_there() -> None:
        async with Room().connect(server, "a token", reconnect=None):
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
        connecting = Room().connect(server, "a token", reconnect=None)
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


# No loss


async def test_leaving_in_the_block_is_no_loss() -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token", reconnect=None) as room:
        await room.disconnect()
        await server.link.aclose("broken")
        await anyio.sleep(60)
        with pytest.raises(PublishDataError, match=r"^not sent: we left the room$"):
            await room.local_participant.publish_data("x")


async def test_an_error_after_leaving_in_the_block_comes_out_as_it_is() -> None:
    server = ScriptedServer()

    async def be_there() -> None:
        async with Room().connect(server, "a token", reconnect=None) as room:
            await room.disconnect()
            await room.local_participant.publish_data("x")

    with pytest.raises(PublishDataError, match=r"^not sent: we left the room$") as caught:
        await be_there()
    assert isinstance(caught.value.__cause__, DisconnectedError)
    assert not hasattr(caught.value, "__notes__")


async def test_the_first_of_leaving_and_losing_counts() -> None:
    server = ScriptedServer()

    async def be_there() -> None:
        async with Room().connect(server, "a token", reconnect=None) as room:
            await lose(room, server)
            await room.disconnect()

    with pytest.raises(DisconnectedError, match=f"^{REMOVED}$"):
        await be_there()


async def test_the_block_goes_on_where_that_is_asked_for() -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token", reconnect=None, on_disconnect="continue") as room:
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
        async with Room().connect(
            server, "a token", reconnect=None, on_disconnect="continue"
        ) as room:
            remove(server)
            await perform_rpc(room)

    with pytest.raises(RpcError) as caught:
        await be_there()
    assert (caught.value.code, caught.value.data) == (1503, REMOVED)
    assert not hasattr(caught.value, "__notes__")


async def test_anything_else_is_refused_before_joining() -> None:
    server = ScriptedServer()
    connecting = Room().connect(server, "a token", reconnect=None, on_disconnect="ignore")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^on_disconnect is 'raise' or 'continue', not 'ignore'$"):
        await connecting.__aenter__()
    assert server.token is None


# Rooms after that, and rooms in rooms


async def test_a_lost_room_can_be_joined_again() -> None:
    room, server = Room(), ScriptedServer()
    for _ in range(2):
        with pytest.raises(DisconnectedError):
            await _be_removed(room, server)
    async with room.connect(server, "a token", reconnect=None):
        assert room.isconnected()


async def _be_removed(room: Room, server: ScriptedServer) -> None:
    async with room.connect(server, "a token", reconnect=None):
        remove(server)
        await anyio.sleep_forever()


async def test_the_loss_of_an_inner_room_comes_out_of_the_outer_one() -> None:
    outer, inner = ScriptedServer(), ScriptedServer()

    async def be_there() -> None:
        async with Room().connect(outer, "a token", reconnect=None):
            await _be_removed(Room(), inner)

    with pytest.raises(DisconnectedError, match=f"^{REMOVED}$") as caught:
        await be_there()
    assert not hasattr(caught.value, "__notes__")


async def test_the_loss_of_an_outer_room_cancels_the_inner_block() -> None:
    outer, inner = ScriptedServer(), ScriptedServer()
    inner_room = Room()

    async def be_there() -> None:
        async with (
            Room().connect(outer, "a token", reconnect=None),
            inner_room.connect(inner, "a token", reconnect=None),
        ):
            remove(outer)
            await anyio.sleep_forever()

    with pytest.raises(DisconnectedError, match=f"^{REMOVED}$"):
        await be_there()
    assert await inner_room.wait_disconnected() is DisconnectReason.CLIENT_INITIATED


async def test_rooms_that_are_lost_together_are_one_error() -> None:
    servers = [ScriptedServer(), ScriptedServer()]

    async def be_there() -> None:
        async with (
            Room().connect(servers[0], "a token", reconnect=None),
            Room().connect(servers[1], "a token", reconnect=None),
        ):
            for each in servers:
                remove(each)
            await anyio.sleep_forever()

    with pytest.raises(DisconnectedError, match=f"^{REMOVED}$"):
        await be_there()
