"""The effects of RoomService on rooms and participants, and the updates about them."""

from __future__ import annotations

from typing import Any

import pytest

from trio_rpc.events import DataReceived
from trio_rpc.server import RoomServer, ServerLimits

from ...conftest import Join
from ...support.messages import leave_reasons, packets, told, updates
from ...support.scripted_client import scripted_client, scripted_clients, settle_all
from ...support.tokens import API_KEYS, ROOM
from .client import answer_to, ask, refusal_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> RoomServer:
    return RoomServer(API_KEYS, ServerLimits(max_metadata_bytes=10, max_name_bytes=8))


# Participants


@pytest.mark.rule("R3", "V4")
async def test_participants_are_listed_the_hidden_ones_too(server: RoomServer) -> None:
    async with (
        scripted_clients(server, "alice", "bob") as members,
        scripted_client(server, "g", hidden=True) as g,
    ):
        listed = (await answer_to(server, "ListParticipants"))["participants"]
        assert [(each["identity"], each["sid"]) for each in listed] == [
            (each.identity, each.sid) for each in (*members, g)
        ]
        assert [each["permission"]["hidden"] for each in listed] == [False, False, True]
        assert [each["state"] for each in listed] == ["ACTIVE"] * 3
        assert await answer_to(server, "GetParticipant", identity="g") == listed[2]


@pytest.mark.rule("R3")
async def test_nobody_is_in_a_room_that_does_not_exist(server: RoomServer) -> None:
    assert await answer_to(server, "ListParticipants") == {"participants": []}


@pytest.mark.rule("R3", "V6")
@pytest.mark.parametrize(
    ("change", "name", "metadata", "attributes"),
    [
        ({}, "Al", "m", {"a": "1", "b": "2"}),
        ({"name": "", "metadata": ""}, "Al", "m", {"a": "1", "b": "2"}),
        ({"name": "Alice"}, "Alice", "m", {"a": "1", "b": "2"}),
        ({"metadata": "n"}, "Al", "n", {"a": "1", "b": "2"}),
        ({"attributes": {"b": "", "c": "3"}}, "Al", "m", {"a": "1", "c": "3"}),
    ],
    ids=["nothing", "empty texts", "name", "metadata", "attributes"],
)
async def test_what_is_empty_in_an_update_stays(
    server: RoomServer, change: dict[str, Any], name: str, metadata: str, attributes: Any
) -> None:
    async with scripted_clients(server, "alice", "bob") as (_, bob):
        server.update_participant(
            ROOM, "alice", name="Al", metadata="m", attributes={"a": "1", "b": "2"}
        )
        await settle_all([bob])
        changed = await answer_to(server, "UpdateParticipant", identity="alice", **change)
        assert (changed["name"], changed["metadata"]) == (name, metadata)
        assert changed["attributes"] == attributes
        assert not changed["permission"]["can_update_metadata"]
        [seen] = updates(await bob.settle())
        assert (seen.name, seen.metadata, dict(seen.attributes)) == (name, metadata, attributes)


@pytest.mark.rule("R3", "V6")
async def test_permissions_are_replaced_as_a_whole(server: RoomServer) -> None:
    async with scripted_clients(server, "alice", "bob") as (_, bob):
        changed = await answer_to(
            server, "UpdateParticipant", identity="alice", permission={"canUpdateMetadata": True}
        )
        assert changed["permission"]["can_update_metadata"]
        assert not changed["permission"]["can_publish_data"]
        [seen] = updates(await bob.settle())
        assert not seen.permission.can_publish_data
        assert seen.permission.can_update_metadata


@pytest.mark.rule("R3")
@pytest.mark.parametrize(
    ("change", "msg"),
    [
        ({"name": "n" * 9}, "a name of 9 UTF-8 bytes, over the limit of 8"),
        ({"metadata": "m" * 11}, "metadata of 11 UTF-8 bytes, over the limit of 10"),
        (
            {"attributes": {"key": "v" * 8}},
            "all attributes together of 11 UTF-8 bytes, over the limit of 10",
        ),
        ({"permission": {"hidden": True}}, "whether a participant is hidden is fixed by its token"),
    ],
    ids=["name", "metadata", "attributes", "hidden"],
)
async def test_an_update_that_cannot_be_is_an_invalid_argument(
    server: RoomServer, change: dict[str, Any], msg: str
) -> None:
    async with scripted_clients(server, "alice", "bob") as (_, bob):
        refusal = await refusal_of(server, "UpdateParticipant", identity="alice", **change)
        assert refusal == (400, "invalid_argument", msg)
        assert await bob.settle() == []


@pytest.mark.rule("R3", "V6")
async def test_a_removed_participant_is_told_and_the_others_hear_of_it(server: RoomServer) -> None:
    async with scripted_clients(server, "alice", "bob") as (alice, bob):
        assert await answer_to(server, "RemoveParticipant", identity="alice") == {}
        assert leave_reasons((await alice.receive_rest())[0]) == ["PARTICIPANT_REMOVED"]
        assert told(await bob.settle()) == [("alice", "DISCONNECTED")]
        async with scripted_client(server, "alice"):
            assert told(await bob.settle()) == [("alice", "ACTIVE")]


@pytest.mark.rule("R2", "R3", "R4", "R5")
@pytest.mark.parametrize(
    "method",
    ["GetParticipant", "RemoveParticipant", "UpdateParticipant", "UpdateRoomMetadata", "SendData"],
)
async def test_what_is_not_there_is_not_found(server: RoomServer, method: str) -> None:
    no_room = (404, "not_found", "there is no room 'the room'")
    assert await refusal_of(server, method, identity="alice") == no_room
    call = {"destination_identity": "alice", "method": "echo"}
    assert await refusal_of(server, "PerformRpc", **call) == no_room
    if "Participant" in method:
        async with scripted_client(server, "bob"):
            assert await refusal_of(server, method, identity="alice") == (
                404,
                "not_found",
                "no participant 'alice' is in room 'the room'",
            )


# Data


@pytest.mark.rule("R4")
@pytest.mark.parametrize(
    ("named", "receivers"),
    [
        pytest.param({}, {"alice", "bob", "ghost"}, id="nobody: everybody"),
        pytest.param({"destination_identities": ["bob"]}, {"bob"}, id="one"),
        pytest.param({"destination_identities": ["bob", "bob"]}, {"bob"}, id="one twice"),
        pytest.param({"destination_identities": ["x", "bob"]}, {"bob"}, id="an unknown one too"),
        pytest.param({"destination_identities": ["x"]}, set(), id="an unknown one alone"),
        pytest.param({"destination_sids": ["alice"]}, {"alice"}, id="a SID"),
        pytest.param({"destination_sids": ["PA_x"]}, set(), id="an unknown SID"),
        pytest.param(
            {"destination_identities": ["bob"], "destination_sids": ["alice"]},
            {"alice", "bob"},
            id="an identity and a SID",
        ),
    ],
)
async def test_data_goes_to_the_named_participants(
    server: RoomServer, named: dict[str, Any], receivers: set[str]
) -> None:
    async with (
        scripted_clients(server, "alice", "bob") as members,
        scripted_client(server, "ghost", hidden=True) as ghost,
    ):
        everybody = [*members, ghost]
        sids = {each.identity: each.sid for each in everybody}
        if "destination_sids" in named:
            named = {
                **named,
                "destination_sids": [sids.get(each, each) for each in named["destination_sids"]],
            }
        await answer_to(server, "SendData", data="aGk=", **named)
        received = await settle_all(everybody)
    got = {each for each, messages in received.items() if packets(messages)}
    assert got == receivers
    for each in receivers:
        [packet] = packets(received[each])
        assert packet.user.payload == b"hi"
        # The room stands for the server, whose packets are numbered too (L4).
        room_sid = members[0].join.room.sid
        assert (packet.participant_identity, packet.participant_sid) == ("", room_sid)


@pytest.mark.rule("R4")
@pytest.mark.parametrize(
    ("request_", "kind", "topic"),
    [
        ({}, "KIND_RELIABLE", None),
        ({"kind": "RELIABLE", "topic": "t"}, "KIND_RELIABLE", "t"),
        ({"kind": 1, "topic": ""}, "KIND_LOSSY", None),
    ],
)
async def test_data_comes_as_an_event_of_nobodys(
    server: RoomServer, join: Join, request_: dict[str, Any], kind: str, topic: str | None
) -> None:
    async with join("alice") as alice, alice.events(DataReceived) as events:
        await answer_to(server, "SendData", data="aGk=", **request_)
        event = await anext(events)
    received = event.data_packet
    assert (received.data, received.kind.name, received.topic) == (b"hi", kind, topic)
    assert received.participant is None


@pytest.mark.rule("R4")
async def test_data_with_a_nonce_is_sent_once(server: RoomServer) -> None:
    async with scripted_client(server, "alice") as alice:

        async def payloads_after(*sends: tuple[bytes, int]) -> list[bytes]:
            for data, number in sends:
                server.send_data(ROOM, data, nonce=number.to_bytes(16, "big"))
            return [packet.user.payload for packet in packets(await alice.settle())]

        assert await payloads_after((b"a", 0), (b"b", 0), (b"c", 1)) == [b"a", b"c"]
        assert await payloads_after(*((b"x", 1 + i) for i in range(100))) == [b"x"] * 99
        assert await payloads_after((b"1", 1), (b"0", 0)) == [b"0"]
        for _ in range(2):
            server.send_data(ROOM, b"without")
        assert len(packets(await alice.settle())) == 2


@pytest.mark.rule("R4")
@pytest.mark.parametrize(("nonce", "size"), [("AAAA", 3), ("A" * 44, 33)])
async def test_a_nonce_that_is_no_uuid_is_an_invalid_argument(
    server: RoomServer, nonce: str, size: int
) -> None:
    assert await refusal_of(server, "SendData", nonce=nonce) == (
        400,
        "invalid_argument",
        f"a nonce has 16 bytes, not {size}",
    )


@pytest.mark.rule("R4", "P7")
async def test_data_is_bounded_as_any_packet(server: RoomServer) -> None:
    async with scripted_client(server, "alice") as alice:
        server.send_data(ROOM, b"x" * 63_960)
        with pytest.raises(
            ValueError, match=r"a packet of 64,0\d\d bytes, over the limit of 64,000"
        ):
            server.send_data(ROOM, b"x" * 64_000)
        assert [len(each.user.payload) for each in packets(await alice.settle())] == [63_960]


@pytest.mark.rule("R4")
async def test_a_single_identity_in_place_of_several_is_a_type_error(server: RoomServer) -> None:
    with pytest.raises(TypeError, match="is a sequence of identities, not one of them"):
        server.send_data(ROOM, b"x", destination_identities="bob")


@pytest.mark.rule("R1")
async def test_requests_without_a_token_change_nothing(server: RoomServer) -> None:
    async with scripted_client(server, "alice") as alice:
        for method in ("DeleteRoom", "RemoveParticipant", "SendData", "UpdateRoomMetadata"):
            status, _ = await ask(server, method, {"room": ROOM, "identity": "alice"}, token="x")
            assert status == 401
        assert await alice.settle() == []
