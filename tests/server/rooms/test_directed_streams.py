"""The server's record of open streams: bounded, charged, and made after all checks."""

from __future__ import annotations

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc.links import Channel
from trio_rpc.protocol.budgets import Budget
from trio_rpc.server import RoomServer, ServerLimits
from trio_rpc.server.rooms.directed_streams import DirectedStreams, TooManyStreamsError

from ...support.messages import packets, signals
from ...support.scripted_client import ScriptedClient, scripted_client, scripted_clients, settle_all
from ...support.tokens import API_KEYS

NOW = 100.0


def streams(max_peer_bytes: int = 1_000_000) -> DirectedStreams:
    return DirectedStreams("alice", Budget(max_peer_bytes))


# The table


@pytest.mark.rule("P4")
def test_a_stream_is_remembered_until_its_trailer() -> None:
    table = streams()
    assert table.destinations("s") is None
    table.on_header("s", ["bob", "carol"], NOW)
    table.on_header("for all", [], NOW)
    table.on_chunk("s", NOW)
    assert table.destinations("s") == ("bob", "carol")
    assert table.destinations("for all") == ()
    table.on_trailer("s")
    table.on_trailer("unknown")
    assert table.destinations("s") is None
    assert len(table) == 1


@pytest.mark.rule("B5")
def test_of_too_many_streams_the_newest_is_refused() -> None:
    table = streams()
    for number in range(1_000):
        table.on_header(str(number), ["bob"], NOW)
    with pytest.raises(TooManyStreamsError, match=r"^1,000 streams of it are open, which is"):
        table.on_header("one more", ["bob"], NOW + 29.9)
    assert table.destinations("one more") is None
    # One that begins again takes its own place.
    table.on_header("7", ["carol"], NOW + 29.9)
    assert table.destinations("7") == ("carol",)


@pytest.mark.rule("B5")
def test_streams_that_are_silent_for_30_seconds_make_room_and_live_ones_never() -> None:
    table = streams()
    for number in range(1_000):
        table.on_header(str(number), ["bob"], NOW)
    for number in range(999):
        table.on_chunk(str(number), NOW + 10)
    table.on_header("one more", ["bob"], NOW + 30)
    assert table.destinations("999") is None
    with pytest.raises(TooManyStreamsError):
        table.on_header("another", ["bob"], NOW + 39.9)
    assert all(table.destinations(str(number)) for number in range(999))


@pytest.mark.rule("B4")
def test_what_is_remembered_is_charged_and_refunded() -> None:
    budget = Budget(1_000_000)
    table = DirectedStreams("alice", budget)
    table.on_header("s", ["x" * 500] * 100, NOW)
    assert 50_000 < budget.held_by("alice") < 70_000
    table.on_header("t", [], NOW)
    table.on_header("s", ["bob"], NOW)
    assert 0 < budget.held < 2_000
    table.on_trailer("s")
    table.on_trailer("t")
    assert budget.held == 0
    table.on_header("s", ["bob"], NOW)
    table.forget_all()
    assert budget.held == 0


@pytest.mark.rule("B4")
def test_a_stream_beyond_the_budget_is_refused_and_leaves_nothing() -> None:
    budget = Budget(100_000)
    table = DirectedStreams("alice", budget)
    table.on_header("s", ["bob"], NOW)
    held = budget.held
    with pytest.raises(TooManyStreamsError, match=r"would exceed the limit of 100,000 "):
        table.on_header("large", ["x" * 250] * 1_000, NOW)
    assert table.destinations("large") is None
    assert budget.held == held


# In a room


@pytest.fixture
def server() -> RoomServer:
    return RoomServer(API_KEYS, ServerLimits(max_open_streams=3, max_peer_bytes=50_000))


def stream_header(stream_id: str, *destinations: str, sequence: int = 0) -> models.DataPacket:
    header = models.DataStream.Header(stream_id=stream_id)
    return models.DataPacket(
        destination_identities=destinations, stream_header=header, sequence=sequence
    )


def stream_chunk(stream_id: str) -> models.DataPacket:
    return models.DataPacket(stream_chunk=models.DataStream.Chunk(stream_id=stream_id))


def stream_trailer(stream_id: str) -> models.DataPacket:
    return models.DataPacket(stream_trailer=models.DataStream.Trailer(stream_id=stream_id))


def held(server: RoomServer) -> int:
    return server._budget.held


async def refusals(member: ScriptedClient) -> list[rtc.RequestResponse]:
    responses = [each.request_response for each in signals(await member.settle())]
    return [each for each in responses if each.message]


MANY = [f"{number}".rjust(100) for number in range(200)]


@pytest.mark.anyio
@pytest.mark.rule("B9")
async def test_a_header_without_permission_is_not_remembered(server: RoomServer) -> None:
    async with scripted_client(server, "alice", can_publish_data=False) as alice:
        for number in range(3):
            alice.send(stream_header(str(number), *MANY))
        assert [each.reason for each in await refusals(alice)] == [
            rtc.RequestResponse.NOT_ALLOWED
        ] * 3
        assert held(server) == 0


@pytest.mark.anyio
@pytest.mark.rule("B9", "P6")
async def test_a_repeated_header_is_not_remembered_again(server: RoomServer) -> None:
    async with scripted_clients(server, "alice", "bob", "carol") as (alice, bob, carol):
        alice.send(stream_header("s", "bob", sequence=1))
        alice.send(stream_header("s", "carol", sequence=1))
        alice.send(stream_header("t", *MANY, sequence=1))
        alice.send(stream_chunk("s"))
        received = await settle_all([alice, bob, carol])
        assert [each.WhichOneof("value") for each in packets(received["bob"])] == [
            "stream_header",
            "stream_chunk",
        ]
        assert packets(received["carol"]) == []
        assert 0 < held(server) < 1_000


@pytest.mark.anyio
@pytest.mark.rule("B9", "P7")
async def test_a_header_that_is_too_large_once_stamped_is_not_remembered(
    server: RoomServer,
) -> None:
    async with scripted_clients(server, "alice", "bob") as (alice, bob):
        # With a field that nobody knows it is as large as may be, but for the stamp.
        body = stream_header("s", "bob").SerializeToString()
        padding = 64_000 - len(body) - 5
        alice.send_frame(body + b"\xfa\x7f" + _varint(padding) + bytes(padding))
        await alice.settle()
        assert packets(await bob.settle()) == []
        assert held(server) == 0


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


@pytest.mark.anyio
@pytest.mark.rule("B5")
async def test_a_stream_too_many_is_refused_and_reaches_nobody(server: RoomServer) -> None:
    async with scripted_clients(server, "alice", "bob", "carol") as (alice, bob, carol):
        for number in range(4):
            alice.send(stream_header(str(number), "bob"))
            alice.send(stream_chunk(str(number)))
        [refusal] = await refusals(alice)
        assert refusal.reason == rtc.RequestResponse.LIMIT_EXCEEDED
        assert refusal.message == "3 streams of it are open, which is the limit"
        assert len(packets(await bob.settle())) == 6
        # Its chunks least of all: they name nobody.
        assert packets(await carol.settle()) == []
        alice.send(stream_trailer("0"))
        alice.send(stream_header("another", "bob"))
        assert await refusals(alice) == []


@pytest.mark.anyio
@pytest.mark.rule("B4")
async def test_a_stream_beyond_the_budget_of_a_participant_is_refused_with_the_reason(
    server: RoomServer,
) -> None:
    async with scripted_clients(server, "alice", "bob") as (alice, bob):
        for number in range(3):
            alice.send(stream_header(str(number), *MANY))
        bob.send(stream_header("of bob", *MANY))
        one, two = await refusals(alice)
        assert one.reason == two.reason == rtc.RequestResponse.LIMIT_EXCEEDED
        assert "the limit of 50,000" in one.message
        assert await refusals(bob) == []
    assert held(server) == 0


@pytest.mark.anyio
@pytest.mark.rule("B5", "V3")
async def test_a_request_whose_stream_is_refused_is_answered(server: RoomServer) -> None:
    async with scripted_clients(server, "alice", "bob") as (alice, bob):
        for number in range(3):
            alice.send(stream_header(str(number), "bob"))
        request = stream_header("request", "bob")
        request.stream_header.topic = "lk.rpc_request"
        request.stream_header.attributes["lk.rpc_request_id"] = "r"
        alice.send(request)
        ack, response = packets(await alice.settle())
        assert ack.rpc_ack.request_id == response.rpc_response.request_id == "r"
        assert response.rpc_response.error.code == 1505
        assert len(packets(await bob.settle())) == 3


@pytest.mark.anyio
@pytest.mark.rule("B4")
@pytest.mark.parametrize("channel", [Channel.RELIABLE, Channel.LOSSY])
async def test_what_a_participant_made_the_server_hold_goes_with_it(
    server: RoomServer, channel: Channel
) -> None:
    async with scripted_client(server, "alice") as alice:
        alice.send(stream_header("s", *MANY), channel)
        await alice.settle()
        assert held(server) > 0
    await anyio.wait_all_tasks_blocked()
    assert held(server) == 0
