"""Links on which things go wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc import DisconnectedError, DisconnectReason, Room, RpcError, RpcInvocationData
from trio_rpc.client.loss import OnDisconnect
from trio_rpc.links import Channel, Frame, Link, LinkClosedError, LinkFullError
from trio_rpc.server import RoomServer
from trio_rpc.testing import Faults, FaultyNetwork, InMemoryServer, PacketFate, open_rooms

from ..support.scripted_server import ScriptedServer

pytestmark = pytest.mark.anyio

codes: Final = RpcError.ErrorCode


@asynccontextmanager
async def raw_link(
    faults: Faults | None = None, **options: Any
) -> AsyncIterator[tuple[Link, ScriptedServer, FaultyNetwork]]:
    """Open a faulty link to a scripted server, which has sent nothing but its `JoinResponse`."""
    server = ScriptedServer()
    connector = FaultyNetwork(server, faults, **options)
    async with connector.open_link("a token", rtc.JoinRequest()) as link:
        assert len(await link.receive()) == 1
        yield link, server, connector


def packet(number: int, channel: Channel = Channel.RELIABLE) -> Frame:
    user = models.UserPacket(payload=str(number).encode())
    return Frame(channel, models.DataPacket(user=user).SerializeToString())


def number_of(frame: Frame) -> int:
    return int(models.DataPacket.FromString(frame.body).user.payload)


async def receive_numbers(
    receive: Callable[[], Any], seconds: float = 60
) -> list[tuple[int, float]]:
    """Return the number and the time of each packet received, until none has come for `seconds`."""
    started = anyio.current_time()
    numbers: list[tuple[int, float]] = []
    with anyio.move_on_after(seconds):
        while True:
            frames = await receive()
            at = round(anyio.current_time() - started, 9)
            numbers += [(number_of(frame), at) for frame in frames]
    return numbers


async def send_and_receive(
    faults: Faults, numbers: range, *, direction: str = "sent"
) -> list[tuple[int, float]]:
    """Send packets one after another at once; what arrives, and when."""
    async with raw_link(faults) as (link, server, _):
        sender, receiver = (link, server.link) if direction == "sent" else (server.link, link)
        for number in numbers:
            sender.send_nowait(packet(number))
        return await receive_numbers(receiver.receive)


# Faults from a seed


@pytest.mark.parametrize("direction", ["sent", "received"])
async def test_a_delay_keeps_packets_in_order(direction: str) -> None:
    faults = Faults(seed=2, delay=(0.5, 2.0))
    arrivals = await send_and_receive(faults, range(20), direction=direction)
    assert [number for number, _ in arrivals] == [*range(20)]
    assert [at for _, at in arrivals] == sorted(at for _, at in arrivals)
    assert 0.5 <= arrivals[0][1] < arrivals[-1][1] <= 2.0


@pytest.mark.parametrize("direction", ["sent", "received"])
async def test_dropped_packets_do_not_arrive(direction: str) -> None:
    arrivals = await send_and_receive(Faults(seed=1, drop=0.5), range(100), direction=direction)
    numbers = [number for number, _ in arrivals]
    assert numbers == sorted(numbers)
    assert 30 < len(numbers) < 70


@pytest.mark.parametrize("direction", ["sent", "received"])
async def test_duplicated_packets_arrive_twice(direction: str) -> None:
    faults = Faults(seed=1, duplicate=1, delay=(0.1, 0.1))
    arrivals = await send_and_receive(faults, range(3), direction=direction)
    assert arrivals == [(number, 0.1) for number in (0, 0, 1, 1, 2, 2)]


@pytest.mark.parametrize("direction", ["sent", "received"])
async def test_reordered_packets_are_overtaken(direction: str) -> None:
    faults = Faults(seed=1, reorder=0.3, reorder_delay=(1.0, 1.0))
    arrivals = await send_and_receive(faults, range(20), direction=direction)
    on_time = [number for number, at in arrivals if at == 0]
    late = [number for number, at in arrivals if at == 1]
    assert sorted(on_time + late) == [*range(20)]
    assert (on_time, late) == (sorted(on_time), sorted(late))
    assert on_time
    assert late


async def test_the_same_seed_makes_the_same_faults_and_another_does_not() -> None:
    def faults(seed: int) -> Faults:
        return Faults(seed=seed, delay=(0, 1), drop=0.2, duplicate=0.2, reorder=0.2)

    first, again, other = [await send_and_receive(faults(seed), range(50)) for seed in (1, 1, 2)]
    assert first == again != other


async def test_signalling_is_spared() -> None:
    async with raw_link(Faults(drop=1)) as (link, server, connector):
        link.send_nowait(packet(1))
        link.send_nowait(Frame(Channel.SIGNAL, b"signal"))
        server.link.send_nowait(packet(2))
        server.link.send_nowait(Frame(Channel.SIGNAL, b"signal"))
        assert await server.link.receive() == [Frame(Channel.SIGNAL, b"signal")]
        assert await link.receive() == [Frame(Channel.SIGNAL, b"signal")]
        assert connector.injected == {"dropped": 2}


async def test_faults_apply_to_the_channels_that_are_named() -> None:
    faults = Faults(drop=1, channels={Channel.LOSSY})
    async with raw_link(faults) as (link, server, _):
        for number, channel in enumerate((Channel.LOSSY, Channel.RELIABLE, Channel.LOSSY)):
            link.send_nowait(packet(number, channel))
        assert await receive_numbers(server.link.receive) == [(1, 0.0)]


async def test_what_becomes_of_each_packet_is_told_and_counted() -> None:
    fates: list[PacketFate] = []
    faults = Faults(seed=5, delay=(0, 1), drop=0.3, duplicate=0.3, reorder=0.3)
    async with raw_link(faults, on_packet=fates.append) as (link, server, connector):
        for number in range(50):
            link.send_nowait(packet(number))
        arrivals = await receive_numbers(server.link.receive)
    assert [number_of(fate.frame) for fate in fates] == [*range(50)]
    assert len(arrivals) == sum(len(fate.delays) for fate in fates)
    assert connector.injected == {
        "dropped": sum(not fate.delays for fate in fates),
        "delayed": sum(bool(fate.delays) for fate in fates),
        "duplicated": sum(len(fate.delays) == 2 for fate in fates),
        "reordered": sum(fate.held_back > 0 for fate in fates),
    }
    assert min(connector.injected.values()) > 5


async def test_without_faults_everything_arrives_at_once() -> None:
    assert await send_and_receive(Faults(), range(3)) == [(0, 0.0), (1, 0.0), (2, 0.0)]


# Faults at a word


async def test_the_next_packets_are_dropped_in_one_direction() -> None:
    async with raw_link() as (link, server, connector):
        connector.drop_next(packets=2)
        for number in range(4):
            link.send_nowait(packet(number))
            server.link.send_nowait(packet(number))
        assert [n for n, _ in await receive_numbers(server.link.receive)] == [2, 3]
        assert [n for n, _ in await receive_numbers(link.receive)] == [0, 1, 2, 3]
        connector.drop_next(direction="received")
        server.link.send_nowait(packet(4))
        server.link.send_nowait(packet(5))
        assert [n for n, _ in await receive_numbers(link.receive)] == [5]


async def test_a_paused_link_lets_nothing_through_until_it_is_resumed() -> None:
    async with raw_link() as (link, server, connector):
        connector.stall()
        for sender in (link, server.link):
            sender.send_nowait(packet(1))
            sender.send_nowait(Frame(Channel.SIGNAL, b""))
            sender.send_nowait(packet(2))
        for receiver in (link, server.link):
            assert await receive_numbers(receiver.receive) == []
        assert link.queued_bytes > 0
        connector.restore()
        for receiver in (link, server.link):
            received: list[Frame] = []
            while len(received) < 3:
                received += await receiver.receive()
            assert received == [packet(1), Frame(Channel.SIGNAL, b""), packet(2)]
        assert connector.injected == {"stalled": 1}


async def test_a_paused_link_fills_up_and_is_writable_again_later() -> None:
    async with raw_link(max_lane_bytes=30) as (link, _, connector):
        connector.stall()
        link.send_nowait(packet(0))
        link.send_nowait(packet(1))
        with pytest.raises(LinkFullError, match=r"^22 bytes are in flight, of 30$"):
            link.send_nowait(packet(2))
        link.send_nowait(packet(0, Channel.LOSSY))
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(link.wait_writable)
            await anyio.sleep(1)
            connector.restore()
        link.send_nowait(packet(7))


async def test_what_is_discarded_does_not_arrive() -> None:
    async with raw_link() as (link, server, connector):
        connector.stall()
        link.send_nowait(packet(1))
        link.discard_queued()
        connector.restore()
        link.send_nowait(packet(2))
        assert [n for n, _ in await receive_numbers(server.link.receive)] == [2]
        assert connector.injected == {"stalled": 1, "lost": 1}


async def test_a_cut_ends_the_link_on_both_sides() -> None:
    async with raw_link(Faults(delay=(1, 1))) as (link, server, connector):
        link.send_nowait(packet(1))
        server.link.send_nowait(packet(2))
        await anyio.sleep(0.5)
        connector.cut()
        with pytest.raises(LinkClosedError, match=r"^the link was cut$"):
            link.send_nowait(packet(3))
        await link.wait_writable()
        for receive in (link.receive, server.link.receive):
            with pytest.raises(LinkClosedError, match=r"^the link was cut$"):
                await receive()
        assert connector.injected == {"delayed": 2, "lost": 2, "cut": 1}


async def test_a_link_that_the_other_side_closes_ends_after_what_is_in_flight() -> None:
    async with raw_link(Faults(delay=(1, 1))) as (link, server, _):
        server.link.send_nowait(packet(1))
        await server.link.aclose("that was all")
        assert await link.receive() == [packet(1)]
        with pytest.raises(LinkClosedError, match=r"^that was all$"):
            await link.receive()


async def test_a_message_without_frames_is_told_in_its_turn() -> None:
    async with raw_link() as (link, server, connector):
        connector.stall()
        await server.send_message(b"\xff")
        server.link.send_nowait(packet(1))
        await anyio.sleep(1)
        connector.restore()
        with pytest.raises(ValueError, match="a message"):
            await link.receive()
        assert await link.receive() == [packet(1)]


# In a room


async def echo(data: RpcInvocationData) -> str:
    return data.payload


async def call(room: Room, payload: str = "hi", response_timeout: float = 5.0) -> str:
    return await room.local_participant.perform_rpc(
        destination_identity="bob",
        method="echo",
        payload=payload,
        response_timeout=response_timeout,
    )


@asynccontextmanager
async def two_rooms(
    faults: Faults | None = None,
    *,
    rooms: dict[str, Room] | None = None,
    on_disconnect: OnDisconnect = "raise",
    **options: Any,
) -> AsyncIterator[tuple[Room, Room, FaultyNetwork]]:
    """Alice, whose link is faulty, and Bob, who answers to `echo`."""
    server = InMemoryServer()
    link = FaultyNetwork(server, faults, **options)
    through = {"alice": link}
    async with open_rooms(
        "alice",
        "bob",
        server=server,
        rooms=rooms,
        through=through,
        reconnect=None,
        on_disconnect=on_disconnect,
    ) as (alice, bob):
        bob.register_rpc_method("echo", echo)
        yield alice, bob, link


async def test_a_call_takes_as_long_as_its_packets() -> None:
    async with two_rooms(Faults(delay=(0.25, 0.25))) as (alice, _, _):
        started = anyio.current_time()
        assert await call(alice) == "hi"
        assert anyio.current_time() - started == 0.5


@pytest.mark.parametrize("direction", ["sent", "received"])
async def test_a_call_whose_packets_are_dropped_times_out(direction: Any) -> None:
    async with two_rooms() as (alice, _, link):
        link.drop_next(packets=2, direction=direction)
        started = anyio.current_time()
        with pytest.raises(RpcError) as raised:
            await call(alice)
        assert raised.value.code == codes.RESPONSE_TIMEOUT
        assert anyio.current_time() - started == 5


async def test_a_cut_ends_calls_on_both_sides_at_once() -> None:
    async with two_rooms(on_disconnect="continue") as (alice, bob, link):
        link.stall()
        async with anyio.create_task_group() as task_group:

            async def cut_later() -> None:
                await anyio.sleep(1)
                link.cut()

            task_group.start_soon(cut_later)
            started = anyio.current_time()
            with pytest.raises(RpcError) as raised:
                await call(alice)
        assert raised.value.code == codes.RECIPIENT_DISCONNECTED
        assert raised.value.data == "the connection was lost: the link was cut"
        assert anyio.current_time() - started == 1
        assert await alice.wait_disconnected() is DisconnectReason.SIGNAL_CLOSE
        await anyio.wait_all_tasks_blocked()
        assert "alice" not in bob.remote_participants


async def use_until_cut(server: InMemoryServer, link: FaultyNetwork) -> None:
    async with open_rooms(
        "alice", "bob", server=server, through={"alice": link}, reconnect=None
    ) as (alice, bob):
        bob.register_rpc_method("echo", echo)
        assert await call(alice) == "hi"
        link.cut()
        await anyio.sleep_forever()


async def test_a_room_can_be_joined_again_after_a_cut() -> None:
    server = InMemoryServer()
    link = FaultyNetwork(server)
    for _ in range(2):
        with pytest.raises(DisconnectedError, match=r"the link was cut$"):
            await use_until_cut(server, link)
    assert link.injected == {"cut": 2}


async def test_a_link_that_is_paused_for_too_long_is_given_up_by_both_sides() -> None:
    async with two_rooms(on_disconnect="continue") as (alice, bob, link):
        link.stall()
        started = anyio.current_time()
        assert await alice.wait_disconnected() is DisconnectReason.CONNECTION_TIMEOUT
        assert 15 <= anyio.current_time() - started <= 21
        await anyio.wait_all_tasks_blocked()
        assert "alice" not in bob.remote_participants


@pytest.mark.rule("C1", "C13")
async def test_a_call_that_waits_for_room_on_the_link_keeps_its_deadline() -> None:
    rooms = {"alice": Room(max_payload_bytes=100_000)}
    async with two_rooms(max_lane_bytes=20_000, rooms=rooms) as (alice, _, link):
        link.stall()
        payload = Random(1).randbytes(30_000).hex()
        started = anyio.current_time()
        with pytest.raises(RpcError) as raised:
            await call(alice, payload, response_timeout=3)
        assert raised.value.code == codes.RESPONSE_TIMEOUT
        assert anyio.current_time() - started == 3
        with anyio.move_on_after(2):
            await call(alice, payload)
        assert anyio.current_time() - started == 5
        assert alice.statistics().pending_calls == 0


@pytest.mark.real_time
async def test_a_url_may_be_wrapped_too(server: RoomServer, url: str, join: Any) -> None:
    link = FaultyNetwork(url)
    async with (
        join("bob") as bob,
        join("alice", to=link, reconnect=None, on_disconnect="continue") as alice,
    ):
        bob.register_rpc_method("echo", echo)
        await alice.wait_for_participant("bob")
        assert await call(alice) == "hi"
        link.cut()
        assert await alice.wait_disconnected() is DisconnectReason.SIGNAL_CLOSE
