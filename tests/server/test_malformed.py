"""Nonsense from a participant is dropped, a flood of it ends that one session, and no other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit.protocol import models, rtc

from trio_rpc import Room, RpcInvocationData
from trio_rpc.links import Channel
from trio_rpc.server import RoomServer, ServerLimits

from ..support.messages import leave_reasons, packets, request, signals, texts, user
from ..support.scripted_client import scripted_client, scripted_clients, settle_all
from ..support.tokens import API_KEYS, make_token

pytestmark = pytest.mark.anyio

MAX_PACKET: Final = 64_000
DATA_CHANNELS: Final = (Channel.RELIABLE, Channel.LOSSY)


def packet_of_size(size: int) -> bytes:
    """Return a broadcast of user data of exactly `size` bytes."""
    padding = size
    while True:
        body = user("x" * padding).SerializeToString()
        if len(body) <= size:
            assert len(body) == size
            return body
        padding -= len(body) - size


def with_payload_that_is_not_utf8() -> bytes:
    packet = request("bob")
    packet.rpc_request.payload = "@@@@"
    return packet.SerializeToString().replace(b"@@@@", b"\xff\xfe@@")


def answers(*destinations: str) -> list[models.DataPacket]:
    """Return an RPC packet of each kind that answers a request."""
    return [
        models.DataPacket(
            destination_identities=destinations, rpc_ack=models.RpcAck(request_id="1")
        ),
        models.DataPacket(
            destination_identities=destinations,
            rpc_response=models.RpcResponse(request_id="1", payload=""),
        ),
    ]


MALFORMED_PACKETS = [
    pytest.param(b"", id="empty"),
    pytest.param(b"\xff\xff\xff\xff", id="garbage"),
    pytest.param(request("bob").SerializeToString()[:-3], id="cut short"),
    pytest.param(request("bob").SerializeToString() + b"\x07", id="with a byte too many"),
    pytest.param(models.DataPacket(destination_identities=["bob"]).SerializeToString(), id="void"),
    pytest.param(with_payload_that_is_not_utf8(), id="not UTF-8"),
    pytest.param(packet_of_size(MAX_PACKET + 1), id="one byte over the limit"),
    pytest.param(b"\x00" * 2_000_000, id="2 MB"),
]


async def assert_dropped(
    server: RoomServer, body: bytes, channel: Channel = Channel.RELIABLE
) -> None:
    """Nobody gets anything of it, not even its sender, who lives on."""
    async with scripted_clients(server, "alice", "bob") as (alice, bob):
        alice.send_frame(body, channel)
        assert await settle_all([alice, bob]) == {"alice": [], "bob": []}
        alice.send(user("still here"))
        await alice.settle()
        assert texts(await bob.settle()) == ["still here"]


@pytest.mark.rule("P8", "P7")
@pytest.mark.parametrize("channel", DATA_CHANNELS)
@pytest.mark.parametrize("body", MALFORMED_PACKETS)
async def test_a_malformed_packet_is_dropped_and_the_connection_lives(
    server: RoomServer, channel: Channel, body: bytes
) -> None:
    await assert_dropped(server, body, channel)


@pytest.mark.rule("P8")
@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", rtc.SignalRequest(ping_req=rtc.Ping(timestamp=99)).SerializeToString()[:-1]],
    ids=["empty", "garbage", "cut short"],
)
async def test_malformed_signalling_is_dropped_and_the_connection_lives(
    server: RoomServer, body: bytes
) -> None:
    await assert_dropped(server, body, Channel.SIGNAL)


@pytest.mark.rule("P8")
@pytest.mark.parametrize(
    "message",
    [
        {"offer": rtc.SessionDescription(type="offer", sdp="v=0")},
        {"mute": rtc.MuteTrackRequest(sid="TR_1", muted=True)},
    ],
    ids=lambda message: next(iter(message)),
)
async def test_signalling_that_the_server_does_not_handle_is_ignored(
    server: RoomServer, message: dict[str, Any]
) -> None:
    await assert_dropped(server, rtc.SignalRequest(**message).SerializeToString(), Channel.SIGNAL)


@pytest.mark.rule("P4", "P8")
@pytest.mark.parametrize("destinations", [(), ("bob", "carol"), ("bob", "bob")], ids=str)
async def test_an_rpc_packet_without_exactly_one_destination_is_dropped(
    server: RoomServer, destinations: tuple[str, ...]
) -> None:
    for packet in (request(*destinations), *answers(*destinations)):
        await assert_dropped(server, packet.SerializeToString())


@pytest.mark.rule("P5", "P7")
async def test_a_packet_is_as_large_as_may_be_with_the_servers_stamp_in_it(
    server: RoomServer,
) -> None:
    async with scripted_clients(server, "alice", "bob") as (alice, bob):
        alice.send_frame(packet_of_size(60_000))
        await alice.settle()
        [stamped] = packets(await bob.settle())
        largest = MAX_PACKET - (stamped.ByteSize() - 60_000)
        for size in (largest, largest + 1):
            alice.send_frame(packet_of_size(size))
        await alice.settle()
        assert [packet.ByteSize() for packet in packets(await bob.settle())] == [MAX_PACKET]


@pytest.mark.rule("P2", "P8")
async def test_a_packet_with_fields_that_nobody_knows_arrives_with_them(
    server: RoomServer,
) -> None:
    unknown = b"\xfa\x7f\x03new"
    async with scripted_clients(server, "alice", "bob") as (alice, bob):
        alice.send_frame(user("hello").SerializeToString() + unknown)
        await alice.settle()
        [message] = await bob.settle()
    assert unknown in message.SerializeToString()


# Floods


@pytest.fixture
def strict_server() -> RoomServer:
    return RoomServer(API_KEYS, ServerLimits(max_malformed=10))


@pytest.mark.rule("P8")
async def test_a_flood_closes_that_one_connection_with_a_stated_reason(
    strict_server: RoomServer,
) -> None:
    async with callers(strict_server) as call, scripted_client(strict_server, "mallory") as mallory:
        for _ in range(10):
            mallory.send_frame(b"\xff")
        await mallory.settle()
        mallory.send_frame(b"\xff\xff")
        messages, why = await mallory.receive_rest()
        assert leave_reasons(messages) == ["STATE_MISMATCH"]
        assert why == (
            "it sent more than 10 malformed messages, the last being "
            "2 bytes that are not a DataPacket"
        )
        assert strict_server.statistics().participants == 2
        await call()


@pytest.mark.rule("P8")
async def test_what_came_before_a_flood_is_delivered_and_what_follows_is_not(
    strict_server: RoomServer,
) -> None:
    async with scripted_clients(strict_server, "mallory", "bob") as (mallory, bob):
        mallory.send(user("before"))
        for _ in range(11):
            mallory.send_frame(b"\xff")
        mallory.send(user("after"))
        await mallory.receive_rest()
        assert texts(await bob.settle()) == ["before"]


@pytest.mark.rule("P8")
async def test_a_peer_that_stumbles_now_and_then_is_forgiven(strict_server: RoomServer) -> None:
    async with scripted_client(strict_server, "alice") as alice:
        for _ in range(100):
            alice.send_frame(b"\xff")
            await alice.settle()
            await anyio.sleep(1.1)
        assert strict_server.statistics().participants == 1


@pytest.mark.rule("P8")
async def test_packets_without_permission_are_no_flood(strict_server: RoomServer) -> None:
    async with scripted_client(strict_server, "alice", can_publish_data=False) as alice:
        for _ in range(50):
            alice.send(user("hello"))
        refusals = [
            each for each in signals(await alice.settle()) if each.HasField("request_response")
        ]
        assert len(refusals) == 50
        assert strict_server.statistics().participants == 1


# Two participants that call each other while a third one sends anything that can be sent


@asynccontextmanager
async def callers(server: RoomServer) -> AsyncIterator[Callable[[], Any]]:
    """Alice and bob; what is yielded has them call each other, and checks the answers."""

    async def echo(data: RpcInvocationData) -> str:
        return f"{data.caller_identity}: {data.payload}"

    alice, bob = Room(), Room()
    for room in (alice, bob):
        room.register_rpc_method("echo", echo)
    async with (
        alice.connect(server, make_token("alice")),
        bob.connect(server, make_token("bob")),
    ):

        async def call() -> None:
            for caller, callee in ((alice, "bob"), (bob, "alice")):
                answer = await caller.local_participant.perform_rpc(
                    destination_identity=callee, method="echo", payload="hi"
                )
                assert answer == f"{caller.local_participant.identity}: hi"

        await call()
        yield call
        assert alice.isconnected()
        assert bob.isconnected()


def identities() -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(["alice", "bob", "mallory", "nobody", ""]), max_size=3)


def valid_bodies() -> st.SearchStrategy[tuple[Channel, bytes]]:
    """Generate packets and requests that a client may send."""
    data_packets = st.one_of(
        st.builds(request, identities().map(tuple).map(lambda each: each[0] if each else "bob")),
        st.builds(lambda text, to: user(text, *to), st.text(max_size=20), identities()),
        st.sampled_from([*answers("alice"), *answers("bob")]),
    ).map(lambda packet: packet.SerializeToString())
    signalling = st.one_of(
        st.builds(
            rtc.UpdateParticipantMetadata,
            name=st.text(max_size=5),
            metadata=st.text(max_size=5),
            attributes=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
        ).map(lambda update: rtc.SignalRequest(update_metadata=update)),
        st.integers(-(2**63), 2**63 - 1).map(
            lambda stamp: rtc.SignalRequest(ping_req=rtc.Ping(timestamp=stamp))
        ),
    ).map(lambda signal: signal.SerializeToString())
    return st.tuples(st.sampled_from(DATA_CHANNELS), data_packets) | st.tuples(
        st.just(Channel.SIGNAL), signalling
    )


@st.composite
def mutated_bodies(draw: st.DrawFn) -> tuple[Channel, bytes]:
    """Generate `valid_bodies` with some bytes replaced, inserted or left out."""
    channel, body = draw(valid_bodies())
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        stop = draw(st.integers(start, min(start + 4, len(body))))
        body = body[:start] + draw(st.binary(max_size=4)) + body[stop:]
    return channel, body


def random_bodies() -> st.SearchStrategy[tuple[Channel, bytes]]:
    return st.tuples(st.sampled_from(Channel), st.binary(max_size=100))


@pytest.mark.rule("P8")
@given(
    frames=st.lists(mutated_bodies() | random_bodies() | valid_bodies(), max_size=30),
    can_update=st.booleans(),
)
async def test_nobody_else_is_affected_by_whatever_a_participant_sends(
    frames: list[tuple[Channel, bytes]], can_update: bool
) -> None:
    server = RoomServer(API_KEYS)
    async with callers(server) as call:
        async with scripted_client(
            server, "mallory", can_update_own_metadata=can_update
        ) as mallory:
            for channel, body in frames:
                mallory.send_frame(body, channel)
            await call()
            assert server.statistics().participants in (2, 3)
        await call()
        assert server.statistics().participants == 2
