"""Rules P1 to P4, P6 and P7: what packets look like, how they are numbered, and what is ignored."""

from __future__ import annotations

import logging
from typing import Any, Final
from uuid import UUID

import anyio
import pytest
from livekit.protocol import models

from trio_rpc import PublishDataError, Room, RoomEvent, RpcError, RpcInvocationData
from trio_rpc.events import DataReceived
from trio_rpc.links import Channel, Frame
from trio_rpc.protocol.limits import MAX_PACKET_BYTES
from trio_rpc.server import RoomServer

from ..conftest import Join
from ..support.callee import callee, expect_ack, expect_response, leave, send_request
from ..support.caller import Caller, caller
from ..support.messages import packets
from ..support.scripted_client import scripted_clients, settle_all
from ..support.scripted_server import ScriptedServer, participant_info

pytestmark = pytest.mark.anyio

VALUES: Final = models.DataPacket.DESCRIPTOR.oneofs_by_name["value"].fields
HANDLED: Final = {
    "user",
    "sip_dtmf",
    "transcription",
    "rpc_request",
    "rpc_ack",
    "rpc_response",
    "stream_header",
    "stream_chunk",
    "stream_trailer",
}


async def receive_data_packets(alice: Caller, count: int) -> list[models.DataPacket]:
    return [await alice.server.expect_packet() for _ in range(count)]


# P1: LiveKit's protobuf, and nothing else


def is_all_known(message: Any) -> bool:
    """Whether a message has no fields but those of its type."""
    body: bytes = message.SerializeToString()
    message.DiscardUnknownFields()
    without: bytes = message.SerializeToString()
    return body == without


@pytest.mark.rule("P1")
async def test_a_participant_sends_nothing_but_livekits_messages() -> None:
    local = participant_info("alice")
    local.permission.can_update_metadata = True
    async with caller(ScriptedServer(local=local)) as alice:
        await alice.room.local_participant.publish_data(b"data", topic="t")
        await alice.room.local_participant.publish_data(b"data", reliable=False)
        await alice.room.local_participant.publish_dtmf(code=1, digit="1")
        alice.call()
        with anyio.move_on_after(1):
            await alice.room.local_participant.set_name("Alice")
        await alice.room.disconnect()
        kinds = []
        messages, _ = await alice.server.receive_rest()
        for message in messages:
            assert is_all_known(message)
            is_packet = isinstance(message, models.DataPacket)
            kinds.append(message.WhichOneof("value" if is_packet else "message"))
    assert sorted(kinds) == ["leave", "rpc_request", "sip_dtmf", "update_metadata", "user", "user"]


# P2: kinds that we don't handle


@pytest.mark.rule("P2")
def test_the_kinds_of_packets_are_those_of_the_protocol() -> None:
    documented = HANDLED | {
        "chat_message",
        "metrics",
        "encrypted_packet",
    }
    assert {field.name for field in VALUES} - documented == {"speaker"}
    assert documented <= {field.name for field in VALUES}


@pytest.mark.rule("P2")
@pytest.mark.parametrize("kind", [field.name for field in VALUES if field.name not in HANDLED])
@pytest.mark.parametrize("channel", [Channel.RELIABLE, Channel.LOSSY], ids=lambda each: each.name)
async def test_a_kind_of_packet_that_is_not_handled_is_ignored(
    kind: str, channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "trio_rpc")
    async with caller() as alice, alice.room.events() as events:
        packet = models.DataPacket(participant_identity="bob")
        getattr(packet, kind).SetInParent()
        alice.server.send(packet, channel)
        await alice.settle()
        (record,) = [each for each in caplog.records if kind in each.getMessage()]
        assert record.levelno == logging.DEBUG
        assert record.getMessage() == f"ignored a packet of kind {kind} of bob"
        assert (await anext(events)).name == "participant_connected"
        call, request_id = await alice.start_call()
        alice.respond(request_id, "hello")
        assert await call.outcome() == "hello"


# P3 and P4: requests, acks, responses


@pytest.mark.rule("P3", "P4")
async def test_a_request_has_these_fields_and_no_others() -> None:
    async with caller() as alice:
        alice.call("hi", method="greet", response_timeout=5)
        packet = await alice.server.expect_packet(channel=Channel.RELIABLE)
        request_id = packet.rpc_request.id
        assert str(UUID(request_id)) == request_id
        assert UUID(request_id).version == 4
        assert packet == models.DataPacket(
            kind=models.DataPacket.RELIABLE,
            destination_identities=["bob"],
            sequence=1,
            rpc_request=models.RpcRequest(
                id=request_id,
                method="greet",
                payload="hi",
                response_timeout_ms=4_999,
                version=1,
            ),
        )


@pytest.mark.rule("P3")
async def test_every_request_has_an_id_of_its_own() -> None:
    async with caller() as alice:
        ids = {(await alice.start_call(str(number)))[1] for number in range(100)}
        assert len(ids) == 100


async def answer(data: RpcInvocationData) -> str | None:
    """Return the payload, or fail where it is `fail`."""
    if data.payload == "fail":
        raise RpcError(7, "no")
    return data.payload


@pytest.mark.rule("P3", "P4")
@pytest.mark.parametrize(
    ("payload", "outcome"),
    [
        ("hi", {"payload": "hi"}),
        ("", {"payload": ""}),
        ("fail", {"error": models.RpcError(code=7, message="no", data="")}),
    ],
)
async def test_an_ack_and_a_response_have_these_fields_and_no_others(
    payload: str, outcome: dict[str, Any]
) -> None:
    async with callee(answer) as (_, server):
        send_request(server, "an id", payload=payload)
        assert await server.expect_packet() == models.DataPacket(
            destination_identities=["bob"],
            sequence=1,
            rpc_ack=models.RpcAck(request_id="an id"),
        )
        response = await server.expect_packet()
        assert response == models.DataPacket(
            destination_identities=["bob"],
            sequence=2,
            rpc_response=models.RpcResponse(request_id="an id", **outcome),
        )
        # An empty payload is there, too: it is not the absence of an outcome.
        assert response.rpc_response.WhichOneof("value") == next(iter(outcome))


# P6: what we send is numbered


@pytest.mark.rule("P6")
async def test_reliable_packets_are_numbered_from_1_and_lossy_ones_are_not() -> None:
    async with caller() as alice:
        local = alice.room.local_participant
        await local.publish_data(b"", destination_identities=["bob"])
        await local.publish_data(b"", reliable=False)
        await local.publish_dtmf(code=1, digit="1")
        await local.publish_data(b"", reliable=False)
        alice.call()
        packets = await receive_data_packets(alice, 5)
        alice.server.send_from("bob", rpc_request=models.RpcRequest(id="1", version=1))
        packets += await receive_data_packets(alice, 2)
        assert [packet.sequence for packet in packets] == [1, 0, 2, 0, 3, 4, 5]


@pytest.mark.rule("P6")
async def test_each_session_numbers_from_1() -> None:
    room = Room()
    for _ in range(2):
        async with caller(room=room) as alice:
            await room.local_participant.publish_data(b"")
            assert (await alice.server.expect_packet()).sequence == 1


@pytest.mark.rule("P6")
async def test_what_is_not_sent_takes_no_number() -> None:
    async with caller() as alice:
        local = alice.room.local_participant
        with pytest.raises(PublishDataError):
            await local.publish_data(bytes(MAX_PACKET_BYTES))
        with anyio.move_on_after(1) as scope:
            while True:
                await local.publish_data(bytes(60_000))
        assert scope.cancelled_caught
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(local.publish_data, b"the last")
            sequences = []
            payload = b""
            while payload != b"the last":
                packet = await alice.server.expect_packet()
                payload = packet.user.payload
                sequences.append(packet.sequence)
    assert len(sequences) > 60
    assert sequences == list(range(1, len(sequences) + 1))


# P6: what we receive counts once


def data_of(event: RoomEvent) -> int:
    assert isinstance(event, DataReceived)
    return int(event.data_packet.data)


async def received(server: ScriptedServer, room: Room, sent: list[tuple[str, int]]) -> list[int]:
    """Send packets of (sid, sequence), and return the numbers of those taken for new."""
    async with room.events() as events:
        for number, (sid, sequence) in enumerate([*sent, ("", 0)]):
            packet = models.DataPacket(
                participant_identity=sid,
                participant_sid=sid,
                sequence=sequence,
                user=models.UserPacket(payload=str(number).encode()),
            )
            server.send(packet)
        numbers = []
        while (number := data_of(await anext(events))) < len(sent):
            numbers.append(number)
    return numbers


@pytest.mark.rule("P6")
@pytest.mark.parametrize(
    ("sequences", "expected"),
    [
        pytest.param([1, 2, 3], [0, 1, 2], id="in order"),
        pytest.param([1, 1, 2, 1, 2, 3], [0, 2, 5], id="resent"),
        pytest.param([5, 9, 100], [0, 1, 2], id="gaps"),
        pytest.param([3, 1, 2, 3, 2, 1], [0, 1, 2], id="out of order"),
        pytest.param([1, 1000, 500, 999, 500, 1000, 1], [0, 1, 2, 3], id="gaps, out of order"),
        pytest.param([5_000, 3_976, 3_977, 3_977], [0, 2], id="older than the window"),
        pytest.param([1, 2**32 - 1, 2**32 - 2, 1, 2**32 - 1], [0, 1, 2], id="to the end"),
        pytest.param([0, 1, 0, 1, 0], [0, 1, 2, 4], id="without a number"),
    ],
)
async def test_a_packet_is_taken_once(sequences: list[int], expected: list[int]) -> None:
    async with caller() as alice:
        sent = [("PA_bob", sequence) for sequence in sequences]
        assert await received(alice.server, alice.room, sent) == expected


@pytest.mark.rule("P6")
async def test_publishers_number_on_their_own() -> None:
    async with caller() as alice:
        sent = [("PA_1", 1), ("PA_2", 1), ("PA_2", 2), ("PA_1", 1), ("PA_2", 2), ("PA_1", 2)]
        assert await received(alice.server, alice.room, sent) == [0, 1, 2, 5]


@pytest.mark.rule("P6")
async def test_whoever_joins_again_numbers_from_1_again() -> None:
    async with caller() as alice:
        assert await received(alice.server, alice.room, [("PA_bob", 1)]) == [0]
        alice.server.announce(participant_info("bob", sid="PA_2"))
        await alice.settle()
        assert await received(alice.server, alice.room, [("PA_2", 1), ("PA_2", 1)]) == [0]


@pytest.mark.rule("P6", "A9")
async def test_a_request_that_is_resent_runs_its_handler_once() -> None:
    async with callee(answer) as (room, server):
        for _ in range(3):
            request = models.RpcRequest(
                id="1", method="greet", payload="hi", response_timeout_ms=5_000, version=1
            )
            server.send_from("bob", sequence=1, rpc_request=request)
        assert await expect_ack(server) == "1"
        assert (await expect_response(server)).payload == "hi"
        assert await leave(room, server) == []


# P7: how large a packet may be


@pytest.mark.rule("P7")
@pytest.mark.parametrize("identity", ["a", "a" * 256])
@pytest.mark.parametrize("reliable", [True, False])
async def test_the_largest_data_that_may_be_sent_arrives(
    identity: str, reliable: bool, join: Join
) -> None:
    async with join(identity) as alice, join("bob") as bob, bob.events() as events:
        for size in range(MAX_PACKET_BYTES, 0, -1):
            try:
                await alice.local_participant.publish_data(bytes(size), reliable=reliable)
            except PublishDataError:
                continue
            break
        with anyio.fail_after(1):
            async for event in events:
                if isinstance(event, DataReceived):
                    assert len(event.data_packet.data) == size
                    break
        assert MAX_PACKET_BYTES - 1_000 < size < MAX_PACKET_BYTES


@pytest.mark.rule("P7", "P8")
async def test_a_packet_over_the_limit_is_not_received(caplog: pytest.LogCaptureFixture) -> None:
    async with caller() as alice, alice.room.events() as events:
        for size in (MAX_PACKET_BYTES, MAX_PACKET_BYTES + 1):
            payload = bytes(size - 8)
            packet = models.DataPacket(user=models.UserPacket(payload=payload))
            assert packet.ByteSize() == size
            frame = Frame(Channel.RELIABLE, packet.SerializeToString())
            alice.server.link.send_nowait(frame)
        await alice.settle()
        event = await anext(events)
        assert isinstance(event, DataReceived)
        assert len(event.data_packet.data) == MAX_PACKET_BYTES - 8
        assert (await anext(events)).name == "participant_connected"
    assert caplog.messages == [
        "ignored what the server sent: a packet of 64,001 bytes, over the limit of 64,000"
    ]


@pytest.mark.rule("P5", "P7")
async def test_what_the_servers_stamps_make_too_large_reaches_nobody(server: RoomServer) -> None:
    async with scripted_clients(server, "alice", "bob") as (alice, bob):
        packet = models.DataPacket(user=models.UserPacket(payload=bytes(MAX_PACKET_BYTES - 8)))
        assert packet.ByteSize() == MAX_PACKET_BYTES
        alice.send(packet)
        alice.send(models.DataPacket(user=models.UserPacket(payload=b"small")))
        received = packets((await settle_all([alice, bob]))["bob"])
        assert [packet.user.payload for packet in received] == [b"small"]
