"""Changing participants and rooms: by themselves, as far as they may, and by the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc import (
    ConnectError,
    DisconnectReason,
    ParticipantPermissions,
    PublishDataError,
    RpcError,
    SignalRequestError,
)
from trio_rpc.events import ParticipantPermissionsChanged, RoomMetadataChanged
from trio_rpc.server import RoomServer, ServerLimits, ServerStatistics

from ..conftest import Join
from ..support.messages import leave_reasons, packets, request, signals, told, updates, user
from ..support.scripted_client import ScriptedClient, scripted_client, scripted_clients, settle_all
from ..support.tokens import API_KEYS

pytestmark = pytest.mark.anyio

ROOM = "the room"


@pytest.fixture
def server() -> RoomServer:
    return RoomServer(API_KEYS, ServerLimits(max_metadata_bytes=10, max_name_bytes=5))


@asynccontextmanager
async def alice_and_bob(
    server: RoomServer, **grants: Any
) -> AsyncIterator[tuple[ScriptedClient, ScriptedClient]]:
    """Alice with `grants`, and bob who looks on."""
    async with (
        scripted_client(server, "alice", **grants) as alice,
        scripted_client(server, "bob") as bob,
    ):
        await settle_all([alice, bob])
        yield alice, bob


async def answer_to(alice: ScriptedClient, **update: Any) -> rtc.RequestResponse:
    """Request a change as a participant, and return the server's response."""
    alice.send_signal(update_metadata=rtc.UpdateParticipantMetadata(request_id=42, **update))
    [answer] = [
        signal.request_response
        for signal in signals(await alice.settle())
        if signal.HasField("request_response")
    ]
    assert answer.request_id == 42
    return answer


# Changes by participants


@pytest.mark.rule("V7")
@pytest.mark.parametrize("update", [{"name": "A"}, {"metadata": "m"}, {"attributes": {"k": "v"}}])
async def test_a_change_without_the_grant_is_refused_to_the_asker_and_changes_nothing(
    server: RoomServer, update: dict[str, Any]
) -> None:
    async with alice_and_bob(server) as (alice, bob):
        answer = await answer_to(alice, **update)
        assert answer.reason == rtc.RequestResponse.NOT_ALLOWED
        assert answer.message == "'alice' lacks the grant canUpdateOwnMetadata"
        assert await bob.settle() == []
        async with scripted_client(server, "carol") as carol:
            [seen, _] = carol.join.other_participants
    assert (seen.name, seen.metadata, dict(seen.attributes)) == ("", "", {})


@pytest.mark.rule("V7")
@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"name": "Äbcdef"}, "a name of 7 UTF-8 bytes, over the limit of 5"),
        ({"metadata": "m" * 11}, "metadata of 11 UTF-8 bytes, over the limit of 10"),
        (
            {"attributes": {"key": "v" * 8}},
            "all attributes together of 11 UTF-8 bytes, over the limit of 10",
        ),
        (
            {"attributes": {"a": "1234", "b": "12345"}, "name": "A"},
            "all attributes together of 11 UTF-8 bytes, over the limit of 10",
        ),
    ],
    ids=["name", "metadata", "attribute", "attributes together"],
)
async def test_what_is_too_large_is_refused_as_a_whole(
    server: RoomServer, update: dict[str, Any], message: str
) -> None:
    async with alice_and_bob(server, can_update_own_metadata=True) as (alice, bob):
        answer = await answer_to(alice, **update)
        assert (answer.reason, answer.message) == (rtc.RequestResponse.LIMIT_EXCEEDED, message)
        assert await bob.settle() == []


@pytest.mark.rule("V7")
async def test_what_is_as_large_as_allowed_is_accepted(server: RoomServer) -> None:
    async with alice_and_bob(server, can_update_own_metadata=True) as (alice, bob):
        answer = await answer_to(alice, name="Äbcd", metadata="m" * 10, attributes={"key": "v" * 7})
        assert answer.reason == rtc.RequestResponse.OK
        [seen] = updates(await bob.settle())
    assert (seen.name, seen.metadata, dict(seen.attributes)) == (
        "Äbcd",
        "m" * 10,
        {"key": "v" * 7},
    )


@pytest.mark.rule("V7")
async def test_what_an_update_leaves_empty_is_unchanged(server: RoomServer) -> None:
    async with alice_and_bob(server, can_update_own_metadata=True) as (alice, bob):
        for update in ({"name": "A"}, {"metadata": "m"}, {"attributes": {"a": "1"}}, {}):
            answer = await answer_to(alice, **update)
            assert answer.reason == rtc.RequestResponse.OK
        seen = [
            (info.name, info.metadata, dict(info.attributes))
            for info in updates(await bob.settle())
        ]
    assert seen == [("A", "", {}), ("A", "m", {}), ("A", "m", {"a": "1"}), ("A", "m", {"a": "1"})]


@pytest.mark.rule("V7")
async def test_name_and_metadata_of_our_own_clients_can_be_cleared(
    server: RoomServer, join: Join
) -> None:
    async with (
        join("alice", can_update_own_metadata=True) as alice,
        scripted_client(server, "bob") as bob,
    ):
        local = alice.local_participant
        await local.set_name("A")
        await local.set_metadata("m")
        await local.set_name("")
        await local.set_attributes({"a": "1"})
        await local.set_metadata("")
        seen = [(info.name, info.metadata) for info in updates(await bob.settle())]
    assert seen == [("A", ""), ("A", "m"), ("", "m"), ("", "m"), ("", "")]


@pytest.mark.rule("V7")
async def test_attributes_merge_and_an_empty_value_deletes_the_key(server: RoomServer) -> None:
    async with alice_and_bob(server, can_update_own_metadata=True) as (alice, bob):
        for attributes in ({"a": "1", "b": "2"}, {"b": "3", "c": "4"}, {"a": "", "nope": ""}):
            await answer_to(alice, attributes=attributes)
        seen = [dict(info.attributes) for info in updates(await bob.settle())]
    assert seen == [{"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}, {"b": "3", "c": "4"}]


@pytest.mark.rule("V7")
async def test_the_requester_gets_the_change_before_the_response(server: RoomServer) -> None:
    async with alice_and_bob(server, can_update_own_metadata=True) as (alice, _):
        alice.send_signal(update_metadata=rtc.UpdateParticipantMetadata(request_id=1, name="A"))
        kinds = [signal.WhichOneof("message") for signal in signals(await alice.settle())]
    assert kinds == ["update", "request_response"]


@pytest.mark.rule("V7")
async def test_a_refused_change_comes_with_its_reason(join: Join) -> None:
    async with join("alice", can_update_own_metadata=True) as alice:
        with pytest.raises(SignalRequestError) as caught:
            await alice.local_participant.set_metadata("m" * 11)
        assert alice.local_participant.metadata == ""
    assert caught.value.reason == "LIMIT_EXCEEDED"
    assert str(caught.value) == "LIMIT_EXCEEDED: metadata of 11 UTF-8 bytes, over the limit of 10"


# Changes by the server


@pytest.mark.rule("V6")
async def test_the_server_changes_a_participant_and_tells_everybody(server: RoomServer) -> None:
    async with alice_and_bob(server) as (alice, bob):
        server.update_participant(ROOM, "alice", name="Al", attributes={"k": "v"})
        server.update_participant(ROOM, "alice", metadata="m")
        for member in (alice, bob):
            seen = updates(await member.settle())
            assert [(i.name, i.metadata, dict(i.attributes)) for i in seen] == [
                ("Al", "", {"k": "v"}),
                ("Al", "m", {"k": "v"}),
            ]


@pytest.mark.rule("V6", "C12")
async def test_other_permissions_count_at_once_and_are_told_to_everybody(
    server: RoomServer, join: Join
) -> None:
    async with join("alice") as alice, join("bob") as bob:
        for who, room in (("alice", alice), ("bob", bob)):
            assert room.local_participant.permissions.can_publish_data, who
        async with (
            alice.events(ParticipantPermissionsChanged) as ours,
            bob.events(ParticipantPermissionsChanged) as theirs,
        ):
            muted = ParticipantPermissions(can_publish_data=False)
            server.update_participant(ROOM, "alice", permissions=muted)
            for events in (ours, theirs):
                with anyio.fail_after(1):
                    event = await anext(events)
                assert event.participant.identity == "alice"
                assert event.permissions == muted
        with pytest.raises(PublishDataError, match="'alice' lacks the grant canPublishData"):
            await alice.local_participant.publish_data("hello")
        with pytest.raises(RpcError) as caught:
            await alice.local_participant.perform_rpc(
                destination_identity="bob", method="echo", payload=""
            )
        assert caught.value.code == RpcError.ErrorCode.SEND_FAILED


@pytest.mark.rule("V3", "V6")
async def test_the_server_itself_enforces_other_permissions(server: RoomServer) -> None:
    async with alice_and_bob(server) as (alice, bob):
        muted = ParticipantPermissions(can_publish_data=False, can_update_metadata=True)
        server.update_participant(ROOM, "alice", permissions=muted)
        alice.send(request("bob"))
        _ack, refusal = packets(await alice.settle())
        assert refusal.rpc_response.error.code == RpcError.ErrorCode.SEND_FAILED
        assert (await answer_to(alice, name="A")).reason == rtc.RequestResponse.OK
        server.update_participant(ROOM, "alice", permissions=ParticipantPermissions())
        alice.send(user("hello"))
        assert (await answer_to(alice, name="B")).reason == rtc.RequestResponse.NOT_ALLOWED
        assert [packet.user.payload for packet in packets(await bob.settle())] == [b"hello"]


@pytest.mark.rule("V4")
@pytest.mark.parametrize("hidden", [False, True])
async def test_the_hidden_permission_cannot_be_changed(server: RoomServer, hidden: bool) -> None:
    async with alice_and_bob(server, hidden=hidden) as (alice, bob):
        with pytest.raises(ValueError, match="hidden is fixed by its token"):
            server.update_participant(
                ROOM, "alice", name="A", permissions=ParticipantPermissions(hidden=not hidden)
            )
        assert await settle_all([alice, bob]) == {"alice": [], "bob": []}


@pytest.mark.rule("V6")
async def test_a_change_that_is_too_large_changes_nothing_of_what_came_with_it(
    server: RoomServer,
) -> None:
    async with alice_and_bob(server) as (alice, bob):
        with pytest.raises(ValueError, match="a name of 6 UTF-8 bytes, over the limit of 5"):
            server.update_participant(
                ROOM,
                "alice",
                name="Alice!",
                metadata="m",
                permissions=ParticipantPermissions(can_publish_data=False),
            )
        alice.send(user("I may still send"))
        await alice.settle()
        [message] = await bob.settle()
        assert isinstance(message, models.DataPacket)


@pytest.mark.rule("V6")
async def test_other_metadata_of_a_room_reaches_all_and_later_joiners(
    server: RoomServer, join: Join
) -> None:
    async with join("alice") as alice, alice.events(RoomMetadataChanged) as events:
        sid = alice.sid
        server.update_room_metadata(ROOM, "first")
        server.update_room_metadata(ROOM, "second")
        for change in (("", "first"), ("first", "second")):
            event = await anext(events)
            assert (event.old_metadata, event.new_metadata) == change
        assert (alice.metadata, alice.sid) == ("second", sid)
        async with join("bob") as bob:
            assert (bob.metadata, bob.sid) == ("second", sid)
        with pytest.raises(ValueError, match="metadata of 11 UTF-8 bytes, over the limit of 10"):
            server.update_room_metadata(ROOM, "m" * 11)
        assert alice.metadata == "second"


# Ending a session


@pytest.mark.rule("V6")
async def test_a_removed_participant_is_told_and_gone_at_once(server: RoomServer) -> None:
    async with alice_and_bob(server) as (alice, bob):
        server.remove_participant(ROOM, "alice")
        assert server.statistics() == ServerStatistics(rooms=1, participants=1)
        bob.send(request("alice"))
        _ack, answer = packets(await bob.settle())
        assert answer.rpc_response.error.code == RpcError.ErrorCode.RECIPIENT_NOT_FOUND
        messages, why = await alice.receive_rest()
        assert leave_reasons(messages) == ["PARTICIPANT_REMOVED"]
        assert why == "the server removed it"
        async with scripted_client(server, "alice"):
            assert told(await bob.settle()) == [("alice", "ACTIVE")]


@pytest.mark.rule("V6")
async def test_the_others_are_informed_of_a_removal(server: RoomServer) -> None:
    async with alice_and_bob(server) as (_, bob):
        server.remove_participant(ROOM, "alice")
        assert told(await bob.settle()) == [("alice", "DISCONNECTED")]


@pytest.mark.rule("V6", "C8")
async def test_everybody_in_a_deleted_room_is_told(server: RoomServer, join: Join) -> None:
    async with (
        join("alice", on_disconnect="continue") as alice,
        join("bob", on_disconnect="continue") as bob,
        scripted_client(server, "x", room="other"),
    ):
        server.delete_room(ROOM)
        assert server.statistics() == ServerStatistics(rooms=1, participants=1)
        for room in (alice, bob):
            assert await room.wait_disconnected() is DisconnectReason.ROOM_DELETED


async def test_a_deleted_room_can_be_joined_again(server: RoomServer) -> None:
    async with scripted_clients(server, "alice", "bob") as (alice, _):
        server.delete_room(ROOM)
        async with scripted_client(server, "alice") as again:
            assert again.join.room.sid != alice.join.room.sid
            assert not again.join.other_participants
            assert server.statistics() == ServerStatistics(rooms=1, participants=1)


@pytest.mark.parametrize(
    "act",
    [
        lambda server, room, _: server.delete_room(room),
        lambda server, room, _: server.update_room_metadata(room, "m"),
        lambda server, room, identity: server.remove_participant(room, identity),
        lambda server, room, identity: server.update_participant(room, identity, name="A"),
    ],
    ids=["delete_room", "update_room_metadata", "remove_participant", "update_participant"],
)
async def test_an_unknown_room_is_a_lookup_error(
    server: RoomServer, act: Callable[[RoomServer, str, str], None]
) -> None:
    async with scripted_client(server, "alice"):
        with pytest.raises(LookupError, match="there is no room 'another'"):
            act(server, "another", "alice")


@pytest.mark.parametrize(
    "act",
    [
        lambda server, identity: server.remove_participant(ROOM, identity),
        lambda server, identity: server.update_participant(ROOM, identity, name="A"),
    ],
    ids=["remove_participant", "update_participant"],
)
async def test_an_unknown_identity_is_a_lookup_error(
    server: RoomServer, act: Callable[[RoomServer, str], None]
) -> None:
    async with scripted_client(server, "alice"):
        with pytest.raises(LookupError, match="no participant 'bob' is in room 'the room'"):
            act(server, "bob")


@pytest.mark.parametrize("api_keys", [{}, {"key": ""}])
def test_a_server_without_a_usable_key_is_a_value_error(api_keys: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="at least one API key, each with a secret"):
        RoomServer(api_keys)


# Shutting down


@pytest.mark.rule("V6")
async def test_shutting_down_tells_everybody_and_lets_nobody_in(
    server: RoomServer, join: Join
) -> None:
    async with (
        join("alice", on_disconnect="continue") as alice,
        scripted_client(server, "bob", room="other") as bob,
    ):
        await server.shut_down()
        assert server.statistics() == ServerStatistics(rooms=0, participants=0)
        assert await alice.wait_disconnected() is DisconnectReason.SERVER_SHUTDOWN
        messages, why = await bob.receive_rest()
        assert leave_reasons(messages) == ["SERVER_SHUTDOWN"]
        assert why == "the server shuts down"
        with pytest.raises(ConnectError, match="the server shuts down") as caught:
            async with join("carol"):
                pass
        assert caught.value.status == 503
    await server.shut_down()
