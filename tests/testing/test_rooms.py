"""Rooms in memory."""

from __future__ import annotations

from typing import Any

import pytest

from trio_rpc import ConnectError, Room, RpcError, RpcInvocationData
from trio_rpc.server import ServerLimits, ServerStatistics
from trio_rpc.testing import FaultyNetwork, InMemoryServer, open_rooms

pytestmark = pytest.mark.anyio


async def greet(data: RpcInvocationData) -> str:
    return f"Hello, {data.caller_identity}!"


async def call_greet(room: Room, identity: str) -> str:
    return await room.local_participant.perform_rpc(
        destination_identity=identity, method="greet", payload=""
    )


async def test_rooms_are_joined_in_order_and_know_each_other() -> None:
    async with open_rooms("alice", "bob", "carol") as rooms:
        identities = [room.local_participant.identity for room in rooms]
        assert identities == ["alice", "bob", "carol"]
        for room in rooms:
            others = {*identities} - {room.local_participant.identity}
            assert room.remote_participants.keys() == others
            assert all(each.is_active for each in room.remote_participants.values())


async def test_participants_call_each_other() -> None:
    async with open_rooms("alice", "bob") as (alice, bob):
        bob.register_rpc_method("greet", greet)
        assert await call_greet(alice, "bob") == "Hello, alice!"


async def test_the_rooms_are_left_after_the_block() -> None:
    server = InMemoryServer()
    async with open_rooms("alice", "bob", server=server) as rooms:
        assert server.statistics() == ServerStatistics(rooms=1, participants=2)
    assert not any(room.isconnected() for room in rooms)


async def test_two_groups_on_servers_of_their_own_do_not_see_each_other() -> None:
    async with open_rooms("alice") as (one,), open_rooms("alice", "bob") as (other, _):
        assert not one.remote_participants
        assert other.remote_participants.keys() == {"bob"}


async def test_grants_are_given_by_identity() -> None:
    grants = {"ghost": {"hidden": True}, "mute": {"can_publish_data": False}}
    async with open_rooms("alice", "ghost", "mute", grants=grants) as (alice, ghost, mute):
        assert alice.remote_participants.keys() == {"mute"}
        assert ghost.local_participant.permissions.hidden
        with pytest.raises(RpcError) as raised:
            await call_greet(mute, "alice")
    assert raised.value.code == RpcError.ErrorCode.SEND_FAILED


async def test_a_participant_may_go_through_another_connector() -> None:
    server = InMemoryServer()
    link = FaultyNetwork(server)
    async with open_rooms(
        "alice",
        "bob",
        server=server,
        through={"bob": link},
        reconnect=None,
        on_disconnect="continue",
    ) as (alice, bob):
        link.cut()
        await bob.wait_disconnected()
        assert alice.isconnected()


@pytest.mark.parametrize("option", ["grants", "rooms", "through"])
async def test_options_of_a_participant_that_does_not_join_are_refused(option: str) -> None:
    options: dict[str, Any] = {option: {"carol": {}, "bob": {}}}
    with pytest.raises(ValueError, match=r"^nobody joins as 'bob', 'carol'$"):
        async with open_rooms("alice", **options):
            pass


async def test_a_participant_may_join_with_a_room_of_the_program() -> None:
    room = Room()
    room.register_rpc_method("greet", greet)
    async with open_rooms("alice", "bob", rooms={"bob": room}) as (alice, bob):
        assert bob is room
        assert await call_greet(alice, "bob") == "Hello, alice!"


async def test_a_token_of_a_server_is_for_that_room() -> None:
    server, room = InMemoryServer(), Room()
    async with room.connect(server, server.token("alice", room_name="kitchen")):
        assert room.name == "kitchen"


async def test_a_server_has_limits() -> None:
    server = InMemoryServer(ServerLimits(max_participants_per_room=1))
    async with server.open_room("alice"):
        with pytest.raises(ConnectError, match="1 participants, which is its limit"):
            async with server.open_room("bob"):
                pass
