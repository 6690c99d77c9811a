"""Presence in a room: hidden participants, replaced ones, and changes (rules V4 to V6)."""

from __future__ import annotations

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc import RpcError
from trio_rpc.server import RoomServer, ServerStatistics

from ...conftest import Join
from ...support.messages import leave_reasons, signals, texts, told, updates, user
from ...support.scripted_client import scripted_client, scripted_clients, settle_all

pytestmark = pytest.mark.anyio


# Visibility


@pytest.mark.rule("V4")
async def test_a_hidden_participant_is_announced_to_nobody(server: RoomServer) -> None:
    async with scripted_client(server, "alice") as alice:
        async with (
            scripted_client(server, "ghost", hidden=True) as ghost,
            scripted_client(server, "other ghost", hidden=True) as other_ghost,
            scripted_client(server, "bob") as bob,
        ):
            assert [info.identity for info in bob.join.other_participants] == ["alice"]
            assert bob.join.room.num_participants == 2
            server.update_participant("the room", "ghost", name="boo")
            assert told(await alice.settle()) == [("bob", "ACTIVE")]
            assert told(await other_ghost.settle()) == [("bob", "ACTIVE")]
            assert [info.name for info in updates(await ghost.settle())] == ["", "boo"]
        assert told(await alice.settle()) == [("bob", "DISCONNECTED")]


@pytest.mark.rule("V4")
async def test_a_hidden_participant_sees_the_others_and_gets_their_data(
    server: RoomServer, join: Join
) -> None:
    async with join("alice") as alice, join("ghost", hidden=True) as ghost:
        received: list[bytes] = []
        done = anyio.Event()

        @ghost.on("data_received")
        def on_data(packet: object) -> None:
            received.append(packet.data)  # type: ignore[attr-defined]
            if len(received) == 2:
                done.set()

        assert ghost.remote_participants.keys() == {"alice"}
        assert alice.remote_participants.keys() == set()
        await alice.local_participant.publish_data("to all")
        await alice.local_participant.publish_data("to the ghost", destination_identities=["ghost"])
        await done.wait()
    assert received == [b"to all", b"to the ghost"]


@pytest.mark.rule("C12", "V3")
async def test_a_hidden_participants_call_fails_locally_with_the_reason(join: Join) -> None:
    async with join("alice"), join("ghost", hidden=True) as ghost:
        with pytest.raises(RpcError) as caught:
            await ghost.local_participant.perform_rpc(
                destination_identity="alice", method="echo", payload=""
            )
    assert caught.value.code == RpcError.ErrorCode.SEND_FAILED
    assert caught.value.data == "'ghost' is a hidden participant, which may not send"


@pytest.mark.rule("V5")
async def test_a_second_joiner_with_the_same_identity_replaces_the_first(
    server: RoomServer,
) -> None:
    async with (
        scripted_client(server, "bob") as bob,
        scripted_client(server, "alice") as first,
    ):
        await settle_all([bob, first])
        async with scripted_client(server, "alice") as second:
            messages, why = await first.receive_rest()
            assert leave_reasons(messages) == ["DUPLICATE_IDENTITY"]
            assert why == "another participant joined as 'alice'"
            received = updates(await bob.settle())
            assert [(info.sid, info.state) for info in received] == [
                (first.sid, models.ParticipantInfo.DISCONNECTED),
                (second.sid, models.ParticipantInfo.ACTIVE),
            ]
            assert [info.identity for info in second.join.other_participants] == ["bob"]
            assert await second.settle() == []
            bob.send(user("for the second", "alice"))
            await bob.settle()
            assert texts(await second.settle()) == ["for the second"]
        assert told(await bob.settle()) == [("alice", "DISCONNECTED")]


@pytest.mark.rule("V5")
async def test_what_the_replaced_one_still_sends_goes_nowhere(server: RoomServer) -> None:
    async with (
        scripted_clients(server, "bob", "alice") as (bob, first),
        scripted_client(server, "alice"),
    ):
        first.send(user("too late"))
        await first.receive_rest()
        assert texts(await bob.settle()) == []


@pytest.mark.rule("V5")
async def test_the_room_lives_on_when_its_only_participant_is_replaced(
    server: RoomServer,
) -> None:
    async with (
        scripted_client(server, "alice") as first,
        scripted_client(server, "alice") as second,
    ):
        assert server.statistics() == ServerStatistics(rooms=1, participants=1)
        assert first.join.room.sid == second.join.room.sid


@pytest.mark.rule("V6")
async def test_every_change_reaches_the_others_in_order(server: RoomServer) -> None:
    async with scripted_client(server, "bob") as bob:
        async with scripted_client(server, "alice", can_update_own_metadata=True) as alice:
            for update in (
                rtc.UpdateParticipantMetadata(name="Alice"),
                rtc.UpdateParticipantMetadata(name="Alice", metadata="m"),
                rtc.UpdateParticipantMetadata(name="Alice", metadata="m", attributes={"k": "v"}),
            ):
                alice.send_signal(update_metadata=update)
            await alice.settle()
        received = updates(await bob.settle())
    assert [(i.name, i.metadata, dict(i.attributes), i.state) for i in received] == [
        ("", "", {}, models.ParticipantInfo.ACTIVE),
        ("Alice", "", {}, models.ParticipantInfo.ACTIVE),
        ("Alice", "m", {}, models.ParticipantInfo.ACTIVE),
        ("Alice", "m", {"k": "v"}, models.ParticipantInfo.ACTIVE),
        # An announcement of a departure contains nothing else.
        ("", "", {}, models.ParticipantInfo.DISCONNECTED),
    ]
    versions = [info.version for info in received]
    assert versions == sorted(set(versions))


@pytest.mark.rule("V6")
async def test_changes_and_packets_of_one_participant_keep_their_order(
    server: RoomServer,
) -> None:
    async with (
        scripted_client(server, "alice", can_update_own_metadata=True) as alice,
        scripted_client(server, "bob") as bob,
    ):
        await settle_all([alice, bob])
        for step in ("1", "2", "3"):
            alice.send_signal(update_metadata=rtc.UpdateParticipantMetadata(metadata=step))
            alice.send(user(step))
        await alice.settle()
        messages = await bob.settle()
    assert [
        each.user.payload.decode()
        if isinstance(each, models.DataPacket)
        else each.update.participants[0].metadata
        for each in messages
    ] == ["1", "1", "2", "2", "3", "3"]
    assert len(signals(messages)) == 3
