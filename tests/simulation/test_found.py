"""Bugs that the simulation has found, each as a test of its own."""

from __future__ import annotations

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc import DisconnectReason, Room, RpcError, RpcInvocationData
from trio_rpc.links import Link, LinkClosedError
from trio_rpc.protocol.sequences import SequenceFilters
from trio_rpc.server import ServerLimits
from trio_rpc.testing import Faults, FaultyNetwork, InMemoryServer, open_rooms
from trio_rpc.testing.rooms import DEFAULT_ROOM

from ..support.scripted_server import ScriptedServer, participant_info

pytestmark = pytest.mark.anyio


def send_request(server: ScriptedServer, sequence: int) -> None:
    request = models.RpcRequest(id="1", method="count", response_timeout_ms=5_000, version=1)
    server.send_from("bob", sequence=sequence, rpc_request=request)


def counting_room() -> tuple[Room, list[str]]:
    room, calls = Room(), list[str]()

    @room.register_rpc_method("count")
    async def count(data: RpcInvocationData) -> None:
        calls.append(data.request_id)

    return room, calls


@pytest.mark.rule("P6")
async def test_a_request_that_comes_again_after_its_caller_left_runs_no_second_handler() -> None:
    server, (room, calls) = ScriptedServer(), counting_room()
    async with room.connect(server, "a token", reconnect=None):
        send_request(server, 1)
        server.announce(participant_info("bob", state=models.ParticipantInfo.DISCONNECTED))
        send_request(server, 1)
        await anyio.sleep(1)
    assert calls == ["1"]


@pytest.mark.rule("P6")
async def test_a_request_that_comes_again_after_we_came_back_runs_no_second_handler() -> None:
    room, calls = counting_room()
    for _ in range(2):
        server = ScriptedServer()
        async with room.connect(server, "a token", reconnect=None):
            send_request(server, 1)
            await anyio.sleep(1)
    assert calls == ["1"]


@pytest.mark.rule("P6")
async def test_a_request_that_reaches_the_server_twice_is_brought_to_one_callee() -> None:
    server = InMemoryServer()
    link = FaultyNetwork(server, Faults(duplicate=1, reorder=1, reorder_delay=(1, 1)))
    first, second = counting_room(), counting_room()
    async with open_rooms(
        "alice",
        "bob",
        server=server,
        rooms={"bob": first[0]},
        through={"alice": link},
        on_disconnect="continue",
    ) as (alice, bob):
        await alice.local_participant.perform_rpc(
            destination_identity="bob", method="count", payload=""
        )
        # The copy that was held back comes when another participant is bob.
        async with server.open_room("bob", second[0]):
            assert await bob.wait_disconnected() is DisconnectReason.DUPLICATE_IDENTITY
            await anyio.sleep(2)
    assert (len(first[1]), second[1]) == (1, [])


@pytest.mark.rule("P6")
def test_publishers_that_were_silent_for_longest_are_forgotten() -> None:
    filters = SequenceFilters()
    assert filters.is_new("the first", 1)
    assert filters.is_new("the second", 1)
    assert not filters.is_new("the first", 1)
    for number in range(2046):
        assert filters.is_new(f"publisher {number}", 1)
    assert not filters.is_new("the first", 1)
    assert filters.is_new("one too many", 1)
    assert filters.is_new("the second", 1)
    assert not filters.is_new("the first", 1)


@pytest.mark.rule("L7", "L8")
async def test_a_repeat_that_waits_past_its_deadline_runs_no_second_handler() -> None:
    server, ran = InMemoryServer(ServerLimits(resume_window=40)), list[str]()
    network = FaultyNetwork(server)
    rooms = open_rooms("alice", "bob", server=server, through=network, on_disconnect="continue")
    async with rooms as (alice, bob):

        @bob.register_rpc_method("hang")
        async def hang(data: RpcInvocationData) -> None:
            ran.append(data.request_id)
            await anyio.sleep_forever()

        async def call() -> None:
            with pytest.raises(RpcError, match="1503"):
                await alice.local_participant.perform_rpc(
                    destination_identity="bob", method="hang", payload="", response_timeout=20
                )

        async with anyio.create_task_group() as task_group:
            task_group.start_soon(call)
            await anyio.sleep(15)
            network.cut()
            network.refuse()
            # Alice can't resume: she rejoins, and her call waits for bob at the server.
            server.remove_participant(DEFAULT_ROOM, "alice")
            network.restore("alice")
            await anyio.sleep(4)
            # So she does not cancel it either.
            server.remove_participant(DEFAULT_ROOM, "alice")
            await anyio.sleep(8)
            network.restore("bob")
        await anyio.sleep(10)
        assert bob.isconnected()
    assert len(ran) == 1


@pytest.mark.rule("V9")
@pytest.mark.parametrize("direction", ["client", "server"])
async def test_silence_is_noticed_at_any_moment_of_the_clock(direction: str) -> None:
    # Where 15 seconds less what has passed is less than the clock can advance by.
    async def stop_sending(after: float) -> None:
        await anyio.sleep(after)
        if direction == "server":
            await _client_of_a_silent_server()
        else:
            await _silent_client()

    async with anyio.create_task_group() as task_group:
        for number in range(200):
            task_group.start_soon(stop_sending, 40 + number / 7 + number / 1e5)


async def _client_of_a_silent_server() -> None:
    room, started = Room(), anyio.current_time()
    async with room.connect(ScriptedServer(), "a token", reconnect=None, on_disconnect="continue"):
        assert await room.wait_disconnected() is DisconnectReason.CONNECTION_TIMEOUT
    assert anyio.current_time() - started == pytest.approx(15)


async def _silent_client() -> None:
    server = InMemoryServer()
    started = anyio.current_time()
    async with server.open_link(server.token("alice"), rtc.JoinRequest()) as link:
        with pytest.raises(LinkClosedError, match="it was silent for 15 s"):
            await _receive_forever(link)
    assert anyio.current_time() - started == pytest.approx(15)


async def _receive_forever(link: Link) -> None:
    while True:
        await link.receive()
