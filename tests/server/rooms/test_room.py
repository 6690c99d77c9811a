"""Routing in a room, and the updates about its participants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from livekit.protocol import models, rtc

from trio_rpc import RpcError
from trio_rpc.links import Channel
from trio_rpc.server import RoomServer, ServerStatistics

from ...support.messages import packets, request, texts, user
from ...support.scripted_client import scripted_client, scripted_clients, settle_all

pytestmark = pytest.mark.anyio


CALL_ERRORS = RpcError.ErrorCode


def error_of(packet: models.DataPacket) -> tuple[int, str, str]:
    """Return the code, message and data of an error response."""
    assert packet.rpc_response.HasField("error")
    error = packet.rpc_response.error
    return error.code, error.message, error.data


# Routing


@pytest.mark.rule("V2")
@pytest.mark.parametrize(
    ("destinations", "receivers"),
    [
        pytest.param([], {"bob", "carol"}, id="none: everybody else"),
        pytest.param(["bob"], {"bob"}, id="one"),
        pytest.param(["carol", "bob"], {"bob", "carol"}, id="several"),
        pytest.param(["bob", "bob"], {"bob"}, id="one twice"),
        pytest.param(["alice", "bob"], {"bob"}, id="its sender too"),
        pytest.param(["alice"], set(), id="its sender alone"),
        pytest.param(["nobody", "bob"], {"bob"}, id="an unknown one too"),
        pytest.param(["nobody"], set(), id="an unknown one alone"),
        pytest.param([""], set(), id="an empty one"),
    ],
)
@pytest.mark.parametrize("channel", [Channel.RELIABLE, Channel.LOSSY])
async def test_a_packet_goes_once_to_the_identities_that_it_names(
    server: RoomServer, channel: Channel, destinations: list[str], receivers: set[str]
) -> None:
    async with scripted_clients(server, "alice", "bob", "carol") as members:
        members[0].send(user("hello", *destinations), channel)
        received = await settle_all(members)
    assert {each: texts(messages) for each, messages in received.items()} == {
        each: ["hello"] if each in receivers else [] for each in ("alice", "bob", "carol")
    }


@pytest.mark.rule("V2")
async def test_the_destinations_that_older_sdks_write_into_user_data_count(
    server: RoomServer,
) -> None:
    async with scripted_clients(server, "alice", "bob", "carol") as members:
        packet = user("for bob")
        packet.user.destination_identities.append("bob")
        members[0].send(packet)
        received = await settle_all(members)
    assert texts(received["bob"]) == ["for bob"]
    assert texts(received["carol"]) == []


@pytest.mark.rule("V2")
async def test_packets_remain_in_their_room_and_in_order(server: RoomServer) -> None:
    async with (
        scripted_clients(server, "alice", "bob") as (alice, bob),
        scripted_client(server, "bob", room="another room") as other_bob,
    ):
        for number in range(20):
            alice.send(user(str(number), *["bob"] * (number % 2)))
        await alice.settle()
        assert texts(await bob.settle()) == [str(number) for number in range(20)]
        assert await other_bob.settle() == []
        assert server.statistics() == ServerStatistics(rooms=2, participants=3)
    assert server.statistics() == ServerStatistics(rooms=2, participants=0)


@pytest.mark.rule("P2", "V2")
async def test_kinds_that_the_server_does_not_handle_are_routed_all_the_same(
    server: RoomServer,
) -> None:
    metrics = models.DataPacket()
    metrics.metrics.timestamp_ms = 1
    sent = [
        metrics,
        models.DataPacket(chat_message=models.ChatMessage(message="hello")),
        models.DataPacket(stream_header=models.DataStream.Header(stream_id="s")),
        models.DataPacket(stream_chunk=models.DataStream.Chunk(stream_id="s", content=b"c")),
        models.DataPacket(stream_trailer=models.DataStream.Trailer(stream_id="s")),
        models.DataPacket(encrypted_packet=models.EncryptedPacket(encrypted_value=b"e")),
    ]
    async with scripted_clients(server, "alice", "bob") as (alice, bob):
        for packet in sent:
            packet.destination_identities.append("bob")
            alice.send(packet)
        await alice.settle()
        received = packets(await bob.settle())
    kinds = [packet.WhichOneof("value") for packet in received]
    assert kinds == [packet.WhichOneof("value") for packet in sent]


def stream_packets(stream_id: str, *destinations: str) -> list[models.DataPacket]:
    """Return a stream whose destinations are in its header alone."""
    header = models.DataStream.Header(stream_id=stream_id)
    chunk = models.DataStream.Chunk(stream_id=stream_id, content=b"c")
    trailer = models.DataStream.Trailer(stream_id=stream_id)
    return [
        models.DataPacket(destination_identities=destinations, stream_header=header),
        models.DataPacket(stream_chunk=chunk),
        models.DataPacket(stream_trailer=trailer),
    ]


def stream_ids(messages: Sequence[models.DataPacket | rtc.SignalResponse]) -> list[str]:
    """Return the stream id of each packet."""
    return [
        packet.stream_header.stream_id
        or packet.stream_chunk.stream_id
        or packet.stream_trailer.stream_id
        for packet in packets(messages)
    ]


@pytest.mark.rule("P4", "V2")
async def test_a_chunk_and_a_trailer_without_destinations_go_where_their_header_went(
    server: RoomServer,
) -> None:
    async with scripted_clients(server, "alice", "bob", "carol") as members:
        for packet in stream_packets("for bob", "bob") + stream_packets("for all"):
            members[0].send(packet)
        received = await settle_all(members)
    assert stream_ids(received["bob"]) == ["for bob"] * 3 + ["for all"] * 3
    assert stream_ids(received["carol"]) == ["for all"] * 3
    assert stream_ids(received["alice"]) == []


@pytest.mark.rule("P4", "V2")
async def test_what_names_nobody_and_is_of_no_open_stream_goes_to_nobody(
    server: RoomServer,
) -> None:
    async with scripted_clients(server, "alice", "bob", "carol") as members:
        header, chunk, trailer = stream_packets("s", "bob")
        for packet in (chunk, trailer, header, trailer, chunk, trailer):
            members[0].send(packet)
        chunk.destination_identities.append("carol")
        members[0].send(chunk)
        received = await settle_all(members)
    assert stream_ids(received["bob"]) == ["s"] * 2
    assert stream_ids(received["carol"]) == ["s"]


# The sender


@pytest.mark.rule("P5")
@pytest.mark.parametrize(
    "packet",
    [
        request("bob"),
        models.DataPacket(destination_identities=["bob"], rpc_ack=models.RpcAck(request_id="1")),
        models.DataPacket(
            destination_identities=["bob"],
            rpc_response=models.RpcResponse(request_id="1", payload="yes"),
        ),
        user("hello", "bob"),
        models.DataPacket(sip_dtmf=models.SipDTMF(code=1, digit="1")),
        models.DataPacket(transcription=models.Transcription(track_id="t")),
        models.DataPacket(stream_header=models.DataStream.Header(stream_id="s")),
    ],
    ids=lambda packet: packet.WhichOneof("value"),
)
async def test_the_server_stamps_the_sender_over_any_other_claim(
    server: RoomServer, packet: models.DataPacket
) -> None:
    async with scripted_clients(server, "mallory", "bob", "alice") as (mallory, bob, alice):
        forged = models.DataPacket()
        forged.CopyFrom(packet)
        forged.participant_identity = alice.identity
        forged.participant_sid = alice.sid
        forged.sequence = 7
        if packet.HasField("user"):
            forged.user.participant_identity = alice.identity
            forged.user.participant_sid = alice.sid
        mallory.send(forged)
        await mallory.settle()
        [received] = packets(await bob.settle())
    assert (received.participant_identity, received.participant_sid) == ("mallory", mallory.sid)
    assert received.sequence == 7
    if packet.HasField("user"):
        assert received.user.participant_identity == "mallory"
        assert received.user.participant_sid == mallory.sid


@pytest.mark.rule("P5")
@pytest.mark.parametrize("written", [models.DataPacket.RELIABLE, models.DataPacket.LOSSY])
@pytest.mark.parametrize("channel", [Channel.RELIABLE, Channel.LOSSY])
async def test_the_kind_of_a_packet_is_that_of_its_channel_whatever_the_sender_wrote(
    server: RoomServer, channel: Channel, written: Any
) -> None:
    async with scripted_clients(server, "alice", "bob") as (alice, bob):
        packet = user("hello", "bob")
        packet.kind = written
        alice.send(packet, channel)
        await alice.settle()
        [received] = packets(await bob.settle())
    assert models.DataPacket.Kind.Name(received.kind) == channel.name


# Calls that the server answers


@pytest.mark.rule("V3", "C7")
@pytest.mark.parametrize(
    ("destination", "data"),
    [
        ("nobody", "no participant 'nobody' is in room 'the room'"),
        ("ghost", "no participant 'ghost' is in room 'the room'"),
        ("", "no participant '' is in room 'the room'"),
        ("alice", "'alice' cannot call itself"),
    ],
    ids=["unknown", "hidden", "empty", "its caller"],
)
async def test_a_call_to_nobody_gets_1401_at_once(
    server: RoomServer, destination: str, data: str
) -> None:
    async with (
        scripted_client(server, "ghost", hidden=True) as ghost,
        scripted_client(server, "alice") as alice,
    ):
        await settle_all([ghost, alice])
        alice.send(request(destination, request_id="r"))
        ack, response = packets(await alice.settle())
        assert packets(await ghost.settle()) == []
    assert ack.rpc_ack.request_id == response.rpc_response.request_id == "r"
    assert ack.participant_identity == response.participant_identity == destination
    assert error_of(response) == (1401, "Recipient not found", data)


@pytest.mark.rule("V3", "C12")
@pytest.mark.parametrize(
    ("grants", "data"),
    [
        ({"hidden": True}, "'alice' is a hidden participant, which may not send"),
        ({"can_publish_data": False}, "'alice' lacks the grant canPublishData"),
        ({"can_publish": False}, "'alice' lacks the grant canPublishData"),
    ],
    ids=["hidden", "without canPublishData", "without canPublish"],
)
async def test_who_may_not_send_gets_1505_for_a_call_and_a_refusal_for_the_rest(
    server: RoomServer, grants: dict[str, bool], data: str
) -> None:
    async with (
        scripted_client(server, "bob") as bob,
        scripted_client(server, "alice", **grants) as alice,
    ):
        await settle_all([bob, alice])
        alice.send(request("bob", request_id="r"))
        alice.send(user("hello"))
        ack, response, refusal = await alice.settle()
        assert packets(await bob.settle()) == []
    assert isinstance(ack, models.DataPacket)
    assert isinstance(response, models.DataPacket)
    assert ack.rpc_ack.request_id == response.rpc_response.request_id == "r"
    assert error_of(response) == (1505, "Failed to send", data)
    assert isinstance(refusal, rtc.SignalResponse)
    assert refusal.request_response.reason == rtc.RequestResponse.NOT_ALLOWED
    assert refusal.request_response.message == data


@pytest.mark.rule("V3", "C8")
async def test_a_call_to_a_participant_that_has_just_left_gets_1401(server: RoomServer) -> None:
    async with scripted_clients(server, "alice", "bob") as (alice, bob):
        bob.send_signal(leave=rtc.LeaveRequest())
        await bob.receive_rest()
        alice.send(request("bob"))
        _ack, response = packets(await alice.settle())
    assert error_of(response)[0] == CALL_ERRORS.RECIPIENT_NOT_FOUND
