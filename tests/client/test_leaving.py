"""Leaving a room, being disconnected, and noticing that a server has vanished."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc import (
    ConnectionState,
    DisconnectReason,
    PublishDataError,
    Room,
    RoomStatistics,
    RpcError,
)
from trio_rpc.links import Channel
from trio_rpc.server import RoomServer

from ..conftest import Join
from ..support.scripted_server import ScriptedServer, participant_info
from ..support.tokens import ROOM

pytestmark = pytest.mark.anyio


async def refuse_to_call(room: Room) -> None:
    with pytest.raises(RpcError) as caught:
        await room.local_participant.perform_rpc(
            destination_identity="bob", method="greet", payload=""
        )
    assert caught.value.code == RpcError.ErrorCode.RECIPIENT_DISCONNECTED


async def test_leaving_inside_the_block(join: Join) -> None:
    async with join("alice") as alice, join("bob") as bob:
        await alice.wait_for_participant("bob")
        await alice.disconnect()
        assert not alice.isconnected()
        assert await alice.wait_disconnected() is DisconnectReason.CLIENT_INITIATED
        await refuse_to_call(alice)
        await alice.disconnect()
        async with bob.events() as events:
            while "alice" in bob.remote_participants:
                await anext(events)
        assert bob.isconnected()


async def test_leaving_a_room_that_was_never_joined() -> None:
    room = Room()
    await room.disconnect()
    with pytest.raises(RuntimeError, match=r"^the room is not joined: "):
        await room.wait_disconnected()
    with pytest.raises(RuntimeError, match=r"^the room is not joined: "):
        _ = room.local_participant
    with pytest.raises(RuntimeError, match=r"^the room is not joined: "):
        await room.wait_for_participant("bob")
    assert dict(room.remote_participants) == {}
    assert room.statistics() == RoomStatistics(pending_calls=0, running_handlers=0)


@pytest.mark.rule("P1")
async def test_leaving_tells_the_server() -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token", reconnect=None) as room:
        await room.disconnect()
        request = await server.expect_signal("leave")
        assert (await server.receive_rest())[0] == []
    assert request.leave.reason == models.CLIENT_INITIATED


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (
            lambda server: server.remove_participant(ROOM, "alice"),
            DisconnectReason.PARTICIPANT_REMOVED,
        ),
        (lambda server: server.delete_room(ROOM), DisconnectReason.ROOM_DELETED),
        (lambda server: server.shut_down(), DisconnectReason.SERVER_SHUTDOWN),
    ],
    ids=["removed", "room deleted", "server shut down"],
)
async def test_the_block_goes_on_if_that_is_asked_for_when_the_server_ends_our_session(
    end: Callable[[RoomServer], Any], reason: DisconnectReason, server: RoomServer, join: Join
) -> None:
    told: list[object] = []
    room = Room()
    room.on("disconnected", told.append)
    room.on("connection_state_changed", told.append)
    async with join("alice", room=room, on_disconnect="continue"):
        told.clear()
        if (result := end(server)) is not None:
            await result
        assert await room.wait_disconnected() is reason
        assert told == [ConnectionState.CONN_DISCONNECTED, reason]
        assert not room.isconnected()
        await refuse_to_call(room)
    assert len(told) == 2


async def test_reasons_that_we_do_not_know_are_unknown() -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token", reconnect=None, on_disconnect="continue") as room:
        server.send_signal(leave=rtc.LeaveRequest(reason=99))  # type: ignore[arg-type]
        assert await room.wait_disconnected() is DisconnectReason.UNKNOWN_REASON


@pytest.mark.rule("C8")
async def test_a_lost_connection_is_a_disconnection() -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token", reconnect=None, on_disconnect="continue") as room:
        await server.link.aclose("broken")
        assert await room.wait_disconnected() is DisconnectReason.SIGNAL_CLOSE
        with pytest.raises(PublishDataError, match=r"^not sent: the connection was lost: broken$"):
            await room.local_participant.publish_data("x")


# Liveness


async def test_a_server_that_falls_silent_is_left_at_its_ping_timeout() -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token", reconnect=None, on_disconnect="continue") as room:
        await anyio.sleep(3)
        server.announce(participant_info("carol"))
        await room.wait_for_participant("carol")
        last_received = anyio.current_time()
        assert await room.wait_disconnected() is DisconnectReason.CONNECTION_TIMEOUT
        assert anyio.current_time() - last_received == pytest.approx(15)
        with pytest.raises(PublishDataError, match=r"^not sent: the server was silent for 15 s$"):
            await room.local_participant.publish_data("x")


async def test_pings_keep_both_sides_content(join: Join) -> None:
    async with join("alice") as alice, join("bob") as bob:
        await anyio.sleep(3600)
        assert alice.isconnected()
        assert bob.isconnected()


async def test_pings_come_at_the_announced_interval() -> None:
    server = ScriptedServer()
    server.join.ping_interval = 2
    async with Room().connect(server, "a token", reconnect=None):
        times = []
        for _ in range(4):
            for channel, body in await server.link.receive():
                assert channel is Channel.SIGNAL
                ping = rtc.SignalRequest.FromString(body).ping_req
                server.send_signal(pong_resp=rtc.Pong(last_ping_timestamp=ping.timestamp))
                times.append(anyio.current_time())
        assert [time - times[0] for time in times] == pytest.approx([0, 2, 4, 6])
