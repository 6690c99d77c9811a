"""A network that fails on demand, for all participants or for some."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import anyio
import pytest

from trio_rpc import ConnectError, DisconnectedError, DisconnectReason, Room, RpcInvocationData
from trio_rpc.server import RoomServer, ServerLimits
from trio_rpc.testing import FaultyNetwork, InMemoryServer, LiveKitLikeServer, open_rooms

pytestmark = pytest.mark.anyio


async def echo(data: RpcInvocationData) -> str:
    return data.payload


@asynccontextmanager
async def two_rooms(
    limits: ServerLimits | None = None, **options: Any
) -> AsyncIterator[tuple[Room, Room, FaultyNetwork]]:
    """Join as alice and bob, who echoes, over a network that fails on demand."""
    server = InMemoryServer(limits)
    network = FaultyNetwork(server)
    async with open_rooms("alice", "bob", server=server, through=network, **options) as (
        alice,
        bob,
    ):
        bob.register_rpc_method("echo", echo)
        yield alice, bob, network


async def call(room: Room, response_timeout: float = 50) -> str:
    return await room.local_participant.perform_rpc(
        destination_identity="bob", method="echo", payload="hi", response_timeout=response_timeout
    )


def log(room: Room, name: str, events: list[str]) -> None:
    """Log the events of reconnecting, and the departures that a room sees."""
    room.on("reconnecting", lambda: events.append(f"{name} reconnects"))
    room.on("reconnected", lambda resumed: events.append(f"{name} is back: {resumed=}"))
    room.on("participant_disconnected", lambda p: events.append(f"{name} misses {p.identity}"))


async def test_a_cut_concerns_the_participants_that_it_names() -> None:
    events: list[str] = []
    async with two_rooms() as (alice, bob, network):
        log(alice, "alice", events)
        log(bob, "bob", events)
        network.cut("alice", "nobody")
        assert await call(alice) == "hi"
        assert events == ["alice reconnects", "alice is back: resumed=True"]
        network.cut()
        assert await call(alice) == "hi"
        await anyio.sleep(1)
        assert sorted(events[2:]) == [
            "alice is back: resumed=True",
            "alice reconnects",
            "bob is back: resumed=True",
            "bob reconnects",
        ]
        assert network.injected["cut"] == 3


@pytest.mark.parametrize("ping_timeout", [15, 60])
async def test_nobody_notices_a_half_open_link_for_a_third_of_the_ping_timeout(
    ping_timeout: int,
) -> None:
    # The server still has the old link when the participant comes back.
    notices_after = ping_timeout / 3
    events: list[str] = []
    limits = ServerLimits(ping_timeout=ping_timeout)
    rooms = {"alice": Room(max_round_trip_latency=60)}
    async with two_rooms(limits, rooms=rooms) as (alice, bob, network):
        log(alice, "alice", events)
        log(bob, "bob", events)
        network.half_open("alice")
        started = anyio.current_time()
        with anyio.move_on_after(notices_after - 2.5):
            await call(alice)
        assert alice.isconnected()
        assert events == []
        await call(alice)
        assert anyio.current_time() - started == pytest.approx(notices_after, abs=2.5)
        assert events == ["alice reconnects", "alice is back: resumed=True"]
        assert network.injected.keys() == {"half-opened", "lost"}
        assert network.injected["half-opened"] == 1


async def test_a_half_open_link_stays_so_when_the_network_is_restored() -> None:
    async with two_rooms(reconnect=None, on_disconnect="continue") as (alice, bob, network):
        network.half_open()
        network.restore()
        assert await alice.wait_disconnected() is DisconnectReason.CONNECTION_TIMEOUT
        assert await bob.wait_disconnected() is DisconnectReason.CONNECTION_TIMEOUT


async def test_a_room_with_a_half_open_link_is_left_in_a_moment() -> None:
    server = InMemoryServer()
    network = FaultyNetwork(server)
    async with server.open_room("alice", through=network):
        network.half_open()
        started = anyio.current_time()
    assert anyio.current_time() - started <= 10


async def test_new_connections_are_refused_until_the_network_is_restored() -> None:
    async with two_rooms() as (alice, bob, network):
        network.refuse("alice")
        assert await call(alice) == "hi"
        network.cut()
        started = anyio.current_time()
        async with anyio.create_task_group() as task_group:

            async def restore_later() -> None:
                await anyio.sleep(6)
                assert not alice.isconnected()
                assert bob.isconnected()
                network.restore()

            task_group.start_soon(restore_later)
            assert await call(alice) == "hi"
        assert 6 <= anyio.current_time() - started <= 13
        assert network.injected["refused"] > 1


@pytest.mark.parametrize("status", [None, 403, 503])
async def test_a_refusal_may_have_a_status(status: int | None) -> None:
    server = InMemoryServer()
    network = FaultyNetwork(server)
    network.refuse(status=status)
    with pytest.raises(ConnectError) as raised:
        async with server.open_room("alice", through=network):
            pass
    assert raised.value.status == status


async def test_refusals_concern_participants_that_come_later() -> None:
    server = InMemoryServer()
    network = FaultyNetwork(server)
    network.refuse()
    network.restore("alice")
    async with server.open_room("alice", through=network):
        with pytest.raises(ConnectError, match="the network is down"):
            async with server.open_room("bob", through=network):
                pass
        network.restore()
        async with server.open_room("bob", through=network):
            pass


async def test_a_stall_concerns_the_participants_that_it_names() -> None:
    async with two_rooms() as (alice, bob, network):
        network.stall("alice")
        assert network.injected == {"stalled": 1}
        await bob.local_participant.publish_data(b"hi", topic="greeting")
        with anyio.move_on_after(3) as patience:
            await call(alice)
        assert patience.cancelled_caught
        network.restore()
        assert await call(alice) == "hi"


async def test_a_token_without_an_identity_is_for_the_server_to_refuse() -> None:
    network = FaultyNetwork(InMemoryServer())
    with pytest.raises(ConnectError, match="refused"):
        async with Room().connect(network, "no.such.token"):
            pass


async def be_there_at_a_restart(server: InMemoryServer, network: FaultyNetwork) -> None:
    async with server.open_room("alice", through=network, reconnect=None):
        network.restart(InMemoryServer())
        await anyio.sleep_forever()


async def test_a_server_that_was_restarted_knows_nobody() -> None:
    server = InMemoryServer()
    network = FaultyNetwork(server)
    async with server.open_room("bob"):
        with pytest.raises(DisconnectedError, match=r"the link was cut$"):
            await be_there_at_a_restart(server, network)
        async with server.open_room("alice", through=network) as alice:
            assert not alice.remote_participants


@pytest.mark.real_time
@pytest.mark.parametrize(("cut", "joins"), [(["alice"], False), ([], False), (["bob"], True)])
async def test_a_link_that_is_cut_while_it_is_opened_is_never_open(
    cut: list[str], joins: bool
) -> None:
    server = LiveKitLikeServer()
    network = FaultyNetwork(server)
    async with anyio.create_task_group() as task_group:

        async def cut_soon() -> None:
            await anyio.sleep(0.02)
            network.cut(*cut)

        task_group.start_soon(cut_soon)
        with nullcontext() if joins else pytest.raises(ConnectError, match="the network is down"):
            async with server.open_room("alice", through=network):
                pass
    assert network.injected["cut"] == (not joins)


async def test_one_that_joins_while_the_server_is_restarted_joins_the_new_one() -> None:
    old, new = LiveKitLikeServer(), LiveKitLikeServer()
    network = FaultyNetwork(old)
    async with old.open_room("alice", through=network) as alice, new.open_room("bob"):
        network.cut()
        await anyio.sleep(0.02)
        network.restart(new)
        await alice.wait_for_participant("bob")


async def test_a_network_may_lead_to_a_url(server: RoomServer, url: str, join: Any) -> None:
    network = FaultyNetwork(url)
    async with join("bob") as bob, join("alice", to=network) as alice:
        bob.register_rpc_method("echo", echo)
        await alice.wait_for_participant("bob")
        network.cut("alice")
        assert await call(alice) == "hi"
        network.half_open("alice")
        network.cut("alice")
        assert await call(alice) == "hi"
