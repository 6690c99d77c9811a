"""A room whose connection is lost goes on where it was when it is there again (L1 to L6, C2)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from livekit.protocol import rtc

from trio_rpc import (
    DisconnectedError,
    DisconnectReason,
    ReconnectPolicy,
    Room,
    RpcError,
    RpcInvocationData,
)
from trio_rpc.events import ConnectionState
from trio_rpc.links import Link
from trio_rpc.server import RoomServer, ServerLimits
from trio_rpc.testing import Faults, FaultyNetwork

from ..support.tokens import API_KEYS, make_token

pytestmark = pytest.mark.anyio


async def echo(data: RpcInvocationData) -> str:
    return data.payload


@asynccontextmanager
async def pair(
    server: RoomServer, **options: Any
) -> AsyncIterator[tuple[Room, Room, FaultyNetwork]]:
    """Connect alice by a link that can fail, and bob, who echoes."""
    alice, bob, link = Room(), Room(), FaultyNetwork(server)
    bob.register_rpc_method("echo", echo)
    alice.register_rpc_method("echo", echo)
    async with (
        bob.connect(server, make_token("bob")),
        alice.connect(link, make_token("alice"), **options),
    ):
        await alice.wait_for_participant("bob")
        await bob.wait_for_participant("alice")
        yield alice, bob, link


async def lose_for_good(server: RoomServer, policy: ReconnectPolicy | None, *, pause: bool) -> None:
    """Cut the link of a room, through which nothing comes any more where it is paused."""
    async with pair(server, reconnect=policy) as (_, _, link):
        if pause:
            link.stall()
        link.cut()
        await anyio.sleep_forever()


async def call(room: Room, identity: str, payload: str = "hi", **options: Any) -> str:
    return await room.local_participant.perform_rpc(
        destination_identity=identity, method="echo", payload=payload, **options
    )


@pytest.mark.rule("L1", "L2", "L3")
async def test_calls_go_on_both_ways_after_a_cut_and_others_see_nothing(
    server: RoomServer,
) -> None:
    seen: list[str] = []
    async with pair(server) as (alice, bob, link):
        for room in (alice, bob):
            room.on("participant_connected", lambda p: seen.append(f"+{p.identity}"))
            room.on("participant_disconnected", lambda p: seen.append(f"-{p.identity}"))
        sid = alice.local_participant.sid
        link.cut()
        assert await call(alice, "bob") == "hi"
        assert await call(bob, "alice") == "hi"
        assert alice.local_participant.sid == sid
        assert seen == []


@pytest.mark.rule("L1")
async def test_events_and_the_state_tell_of_it(server: RoomServer) -> None:
    told: list[Any] = []
    async with pair(server, reconnect=ReconnectPolicy(first_delay=1)) as (alice, _, link):
        alice.on("reconnecting", lambda: told.append("reconnecting"))
        alice.on("reconnected", lambda resumed: told.append(("reconnected", resumed)))
        alice.on("connection_state_changed", told.append)
        link.cut()
        await anyio.sleep(0.5)
        assert alice.connection_state is ConnectionState.CONN_RECONNECTING
        assert not alice.isconnected()
        assert told == [ConnectionState.CONN_RECONNECTING, "reconnecting"]
        await anyio.sleep(1)
        assert alice.isconnected()
        assert told[2:] == [ConnectionState.CONN_CONNECTED, ("reconnected", True)]


@pytest.mark.rule("L4")
async def test_a_call_in_flight_gets_its_answer_and_its_handler_runs_once(
    server: RoomServer,
) -> None:
    runs: list[str] = []
    async with pair(server) as (alice, bob, link):

        @bob.register_rpc_method("slow")
        async def slow(data: RpcInvocationData) -> str:
            runs.append(data.request_id)
            await anyio.sleep(3)
            return "done"

        async with anyio.create_task_group() as task_group:

            async def cut() -> None:
                for _ in range(5):
                    await anyio.sleep(0.7)
                    link.cut()

            task_group.start_soon(cut)
            answer = await alice.local_participant.perform_rpc(
                destination_identity="bob", method="slow", payload=""
            )
        assert answer == "done"
    assert len(runs) == 1


@pytest.mark.rule("L4")
async def test_packets_of_both_sides_arrive_once_and_in_order(server: RoomServer) -> None:
    got: dict[str, list[bytes]] = {"alice": [], "bob": []}
    async with pair(server) as (alice, bob, link):
        for room in (alice, bob):
            identity = room.local_participant.identity
            room.on("data_received", lambda packet, i=identity: got[i].append(packet.data))
        expected = [b"%d" % number for number in range(200)]
        for number, data in enumerate(expected):
            await alice.local_participant.publish_data(data)
            await bob.local_participant.publish_data(data)
            if number % 20 == 7:
                link.cut()
            if number % 3 == 0:
                await anyio.sleep(0.05)
        await anyio.sleep(1)
    assert got == {"alice": expected, "bob": expected}


@pytest.mark.rule("C2")
async def test_our_own_outage_does_not_count_against_the_time_for_acks(
    server: RoomServer,
) -> None:
    policy = ReconnectPolicy(first_delay=10)
    async with pair(server, reconnect=policy) as (alice, _, link):
        link.cut()
        await anyio.wait_all_tasks_blocked()
        assert await call(alice, "bob", response_timeout=20) == "hi"
        assert anyio.current_time() >= 10


@pytest.mark.rule("C1")
async def test_a_call_waits_for_the_connection_within_its_own_time(server: RoomServer) -> None:
    policy = ReconnectPolicy(first_delay=10)
    async with pair(server, reconnect=policy) as (alice, _, link):
        link.cut()
        await anyio.wait_all_tasks_blocked()
        start = anyio.current_time()
        with pytest.raises(RpcError) as caught:
            await call(alice, "bob", response_timeout=8)
        assert caught.value.code == RpcError.ErrorCode.RESPONSE_TIMEOUT
        assert anyio.current_time() - start == pytest.approx(8)
        with pytest.raises(RpcError, match="the connection is lost") as caught:
            await call(alice, "bob", wait_for_ready=False)
        assert caught.value.code == RpcError.ErrorCode.SEND_FAILED
        assert anyio.current_time() - start == pytest.approx(8)


async def test_what_expired_while_there_was_no_connection_is_never_sent(
    server: RoomServer,
) -> None:
    ran: list[str] = []
    policy = ReconnectPolicy(first_delay=5)
    async with pair(server, reconnect=policy) as (alice, bob, link):
        bob.unregister_rpc_method("echo")
        bob.register_rpc_method("echo", lambda data: ran.append(data.payload))
        link.cut()
        await anyio.wait_all_tasks_blocked()
        with anyio.move_on_after(1):
            await call(alice, "bob")
        await anyio.sleep(10)
        assert alice.isconnected()
    assert ran == []


async def test_streams_go_on(server: RoomServer) -> None:
    texts: list[str] = []
    async with pair(server) as (alice, bob, link):

        async def read(reader: Any, _: str) -> None:
            texts.append(await reader.read_all())

        bob.register_text_stream_handler("notes", read)
        async with alice.local_participant.stream_text(topic="notes") as writer:
            for number in range(20):
                await writer.write(f"{number} ")
                if number % 6 == 3:
                    link.cut()
                await anyio.sleep(0.1)
        await anyio.sleep(1)
    assert texts == ["".join(f"{number} " for number in range(20))]


@pytest.mark.rule("L4", "S6")
async def test_a_stream_goes_on_after_our_own_long_silence() -> None:
    server = RoomServer(API_KEYS, ServerLimits(resume_window=60))
    # So the missed packets come after the first ping.
    network = FaultyNetwork(server, Faults(delay=(0.1, 0.1)))
    alice, bob = Room(), Room()
    texts: list[str] = []
    async with (
        bob.connect(server, make_token("bob")),
        alice.connect(network, make_token("alice")),
    ):

        async def read(reader: Any, _: str) -> None:
            texts.append(await reader.read_all())

        alice.register_text_stream_handler("notes", read)
        async with bob.local_participant.stream_text(topic="notes") as writer:
            await writer.write("before, ")
            await anyio.sleep(1)
            network.cut()
            network.refuse()
            await anyio.sleep(20)
            await writer.write("meanwhile, ")
            await anyio.sleep(20)
            network.restore()
            await anyio.sleep(10)
            await writer.write("after")
        await anyio.sleep(1)
        assert alice.isconnected()
    assert texts == ["before, meanwhile, after"]


async def test_a_change_of_ours_is_made_though_its_answer_was_lost(server: RoomServer) -> None:
    alice, link = Room(), FaultyNetwork(server)
    token = make_token("alice", can_update_own_metadata=True)
    async with alice.connect(link, token), anyio.create_task_group() as task_group:
        link.stall()
        task_group.start_soon(alice.local_participant.set_metadata, "new")
        await anyio.sleep(1)
        link.cut()
        link.restore()
        await anyio.sleep(1)
        assert alice.local_participant.metadata == "new"


async def test_departures_and_arrivals_meanwhile_are_announced(server: RoomServer) -> None:
    seen: list[str] = []
    async with pair(server, reconnect=ReconnectPolicy(first_delay=5)) as (alice, bob, link):
        alice.on("participant_connected", lambda p: seen.append(f"+{p.identity}"))
        alice.on("participant_disconnected", lambda p: seen.append(f"-{p.identity}"))
        link.cut()
        await anyio.sleep(1)
        await bob.disconnect()
        async with Room().connect(server, make_token("carol")):
            await anyio.sleep(10)
            assert sorted(alice.remote_participants) == ["carol"]
            assert sorted(seen) == ["+carol", "-bob"]


@pytest.mark.rule("L2")
@pytest.mark.parametrize("give_up_after", [0, 7, 60])
async def test_the_room_is_given_up_in_time(server: RoomServer, give_up_after: float) -> None:
    policy = ReconnectPolicy(give_up_after=give_up_after)
    text = f"the connection was lost: .*; not restored within {give_up_after} s"
    start = anyio.current_time()
    with pytest.raises(DisconnectedError, match=text) as caught:
        await lose_for_good(server, policy, pause=True)
    assert caught.value.reason is DisconnectReason.SIGNAL_CLOSE
    assert anyio.current_time() - start == pytest.approx(give_up_after, abs=0.1)


async def test_without_a_policy_a_lost_connection_is_the_end(server: RoomServer) -> None:
    start = anyio.current_time()
    with pytest.raises(DisconnectedError, match="the connection was lost"):
        await lose_for_good(server, None, pause=False)
    assert anyio.current_time() == start


async def test_links_of_earlier_connections_are_closed(server: RoomServer) -> None:
    open_links: list[None] = []

    class Counting:
        @asynccontextmanager
        async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncIterator[Link]:
            async with server.open_link(token, request) as link:
                open_links.append(None)
                try:
                    yield link
                finally:
                    open_links.pop()

    network = FaultyNetwork(Counting())
    async with Room().connect(network, make_token("alice")) as alice:
        for _ in range(10):
            network.cut()
            await anyio.sleep(1)
            assert alice.isconnected()
        # The first belongs to the block.
        assert len(open_links) == 2
    assert not open_links


async def test_a_token_is_asked_for_before_each_connection(server: RoomServer) -> None:
    asked: list[float] = []

    async def token() -> str:
        asked.append(anyio.current_time())
        return make_token("alice")

    link = FaultyNetwork(server)
    async with Room().connect(link, token) as alice:
        link.cut()
        await anyio.sleep(1)
        assert alice.isconnected()
    assert len(asked) == 2


@pytest.mark.parametrize("moment", [0.0, 0.5, 1.0, 1.5, 12.0])
async def test_the_block_ends_at_once_in_every_state(server: RoomServer, moment: float) -> None:
    policy = ReconnectPolicy(first_delay=1)
    async with pair(server, reconnect=policy) as (_, bob, link):
        link.stall()
        link.cut()
        await anyio.sleep(moment)
        start = anyio.current_time()
    assert anyio.current_time() - start <= 4
    assert bob.statistics() == Room().statistics()


@pytest.mark.rule("L1", "C2")
@pytest.mark.parametrize("half_open", [["alice"], ["bob"], ["alice", "bob"]])
async def test_a_half_open_link_costs_no_call(server: RoomServer, half_open: list[str]) -> None:
    network = FaultyNetwork(server)
    alice, bob = Room(), Room()
    bob.register_rpc_method("echo", echo)
    async with (
        bob.connect(network, make_token("bob")),
        alice.connect(network, make_token("alice")),
    ):
        await alice.wait_for_participant("bob")
        for waited in range(1, 6):
            await anyio.sleep(waited)
            network.half_open(*half_open)
            assert await call(alice, "bob") == "hi"
