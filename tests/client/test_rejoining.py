"""A room whose session cannot be resumed is joined again (L2 and L7)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc import (
    DisconnectedError,
    DisconnectReason,
    ReconnectPolicy,
    Room,
    RpcError,
    RpcInvocationData,
    StreamError,
)
from trio_rpc.client.supervisor import TokenSource
from trio_rpc.events import ConnectionState, Reconnected
from trio_rpc.server import RoomServer, ServerLimits
from trio_rpc.testing import FaultyNetwork

from ..support.scripted_server import ScriptedServer
from ..support.tokens import API_KEYS, ROOM, make_token

pytestmark = pytest.mark.anyio

#: The session is resumed for a second, and the next attempt comes later.
LIMITS = ServerLimits(resume_window=1)
LATE = ReconnectPolicy(first_delay=5)


async def echo(data: RpcInvocationData) -> str:
    return data.payload


@asynccontextmanager
async def pair(
    token: TokenSource | None = None, **options: Any
) -> AsyncIterator[tuple[Room, Room, FaultyNetwork]]:
    """Connect alice and bob, who echo, through a network that can fail."""
    alice, bob, network = Room(), Room(), FaultyNetwork(RoomServer(API_KEYS, LIMITS))
    options.setdefault("reconnect", LATE)
    for room in (alice, bob):
        room.register_rpc_method("echo", echo)
    async with (
        bob.connect(network, make_token("bob")),
        alice.connect(network, token or make_token("alice"), **options),
    ):
        await alice.wait_for_participant("bob")
        await bob.wait_for_participant("alice")
        yield alice, bob, network


async def call(room: Room, identity: str, payload: str = "hi", **options: Any) -> str:
    return await room.local_participant.perform_rpc(
        destination_identity=identity, method="echo", payload=payload, **options
    )


async def rejoined(room: Room) -> None:
    """Wait until a room was joined again."""
    async with room.events(Reconnected) as events:
        async for event in events:
            assert isinstance(event, Reconnected)
            assert not event.resumed
            return


async def cut_and_rejoin(room: Room, network: FaultyNetwork) -> None:
    """Cut the link of a room, and wait until that was joined again."""
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(rejoined, room)
        await anyio.wait_all_tasks_blocked()
        network.cut(room.local_participant.identity)


@pytest.mark.rule("L2", "L7")
async def test_a_session_that_cannot_be_resumed_is_followed_by_another() -> None:
    async with pair() as (alice, bob, network):
        sid = alice.local_participant.sid
        await cut_and_rejoin(alice, network)
        assert alice.isconnected()
        assert alice.local_participant.sid != sid
        assert bob.remote_participants["alice"].sid == alice.local_participant.sid
        assert await call(alice, "bob") == "hi"
        assert await call(bob, "alice") == "hi"


@pytest.mark.rule("L7")
async def test_events_report_the_rejoin_and_no_false_arrivals() -> None:
    seen: list[Any] = []
    async with pair() as (alice, _, network):
        alice.on("participant_connected", lambda p: seen.append(f"+{p.identity}"))
        alice.on("participant_disconnected", lambda p: seen.append(f"-{p.identity}"))
        alice.on("connection_state_changed", seen.append)
        alice.on("reconnecting", lambda: seen.append("reconnecting"))
        alice.on("reconnected", lambda resumed: seen.append(("reconnected", resumed)))
        alice.on("connected", lambda: seen.append("connected"))
        bob = alice.remote_participants["bob"]
        await cut_and_rejoin(alice, network)
        assert alice.remote_participants["bob"] is bob
        assert seen == [
            ConnectionState.CONN_RECONNECTING,
            "reconnecting",
            ConnectionState.CONN_CONNECTED,
            ("reconnected", False),
        ]


@pytest.mark.rule("L7")
async def test_departures_and_arrivals_meanwhile_are_reported() -> None:
    seen: list[str] = []
    async with pair() as (alice, bob, network):
        alice.on("participant_connected", lambda p: seen.append(f"+{p.identity}"))
        alice.on("participant_disconnected", lambda p: seen.append(f"-{p.identity}"))
        network.cut("alice")
        await bob.disconnect()
        async with Room().connect(network, make_token("carol")):
            await anyio.sleep(10)
            assert sorted(alice.remote_participants) == ["carol"]
            assert sorted(seen) == ["+carol", "-bob"]


@pytest.mark.rule("L7")
async def test_changes_of_our_own_are_made_again() -> None:
    changed: list[str] = []
    token = make_token("alice", can_update_own_metadata=True)
    async with pair(token) as (alice, bob, network):
        us = alice.local_participant
        await us.set_name("Alice")
        await us.set_attributes({"a": "1", "b": "2"})
        await us.set_attributes({"b": ""})
        alice.on("participant_name_changed", lambda *_: changed.append("name"))
        alice.on("participant_attributes_changed", lambda *_: changed.append("attributes"))
        await cut_and_rejoin(alice, network)
        await anyio.sleep(1)
        for seen in (us, bob.remote_participants["alice"]):
            assert (seen.name, seen.metadata, seen.attributes) == ("Alice", "", {"a": "1"})
        assert changed == []


@pytest.mark.rule("L7")
async def test_a_request_to_the_server_is_sent_again() -> None:
    token = make_token("alice", can_update_own_metadata=True)
    async with pair(token) as (alice, bob, network):
        network.stall("alice")
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(alice.local_participant.set_metadata, "new")
            await anyio.sleep(1)
            network.cut("alice")
            network.restore("alice")
        assert alice.local_participant.metadata == "new"
        assert bob.remote_participants["alice"].metadata == "new"


@pytest.mark.rule("L7")
async def test_streams_end_with_an_error_on_both_sides() -> None:
    got: list[Any] = []
    async with pair() as (alice, bob, network):

        async def read(reader: Any, _: str) -> None:
            try:
                got.append(await reader.read_all())
            except StreamError as error:
                got.append(error)

        for room in (alice, bob):
            room.register_text_stream_handler("notes", read)
        ours = await alice.local_participant.stream_text(topic="notes")
        theirs = await bob.local_participant.stream_text(topic="notes")
        for writer in (ours, theirs):
            await writer.write("some")
        await cut_and_rejoin(alice, network)
        with pytest.raises(StreamError, match="joined again"):
            await ours.write("more")
        with pytest.raises(StreamError, match="joined again"):
            await ours.aclose()
        await anyio.sleep(1)
        assert len(got) == 2
        assert all(isinstance(each, StreamError) for each in got)
        await alice.local_participant.send_text("another", topic="notes")
        await anyio.sleep(1)
        assert got[2:] == ["another"]
        await theirs.aclose()


@pytest.mark.rule("L7")
async def test_a_running_handler_goes_on() -> None:
    ended = anyio.Event()
    async with pair() as (alice, bob, network):

        @alice.register_rpc_method("slow")
        async def slow(_: RpcInvocationData) -> None:
            await anyio.sleep(8)
            ended.set()

        async def call_alice() -> None:
            with pytest.raises(RpcError):
                await bob.local_participant.perform_rpc(
                    destination_identity="alice", method="slow", payload=""
                )

        async with anyio.create_task_group() as task_group:
            task_group.start_soon(call_alice)
            await anyio.sleep(1)
            await cut_and_rejoin(alice, network)
            await ended.wait()


@pytest.mark.rule("L7")
async def test_data_goes_on_in_both_directions() -> None:
    got: dict[str, list[bytes]] = {"alice": [], "bob": []}
    async with pair() as (alice, bob, network):
        for identity, room in (("alice", alice), ("bob", bob)):
            room.on("data_received", lambda packet, i=identity: got[i].append(packet.data))
        for number in range(3):
            for room in (alice, bob):
                await room.local_participant.publish_data(b"%d" % number)
            await anyio.sleep(1)
            await cut_and_rejoin(alice, network)
    assert got == {"alice": [b"0", b"1", b"2"], "bob": [b"0", b"1", b"2"]}


@pytest.mark.rule("L2")
async def test_a_server_that_was_restarted_is_joined_again() -> None:
    async with pair() as (alice, bob, network):
        network.refuse()
        network.restart(RoomServer(API_KEYS))
        await anyio.sleep(10)
        network.restore()
        await alice.wait_for_participant("bob")
        await bob.wait_for_participant("alice")
        await anyio.sleep(20)
        assert await call(alice, "bob") == "hi"
        assert await call(bob, "alice") == "hi"


@pytest.mark.rule("L2")
async def test_a_leave_with_the_action_reconnect_is_followed_at_once() -> None:
    server = RoomServer(API_KEYS)
    policy = ReconnectPolicy(first_delay=20)
    async with Room().connect(server, make_token("alice"), reconnect=policy) as alice:
        sid = alice.local_participant.sid
        start = anyio.current_time()
        member = server._rooms.get(ROOM).members["alice"]
        leave = rtc.LeaveRequest(
            reason=models.DisconnectReason.SERVER_SHUTDOWN, action=rtc.LeaveRequest.RECONNECT
        )
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(rejoined, alice)
            await anyio.wait_all_tasks_blocked()
            member.tell(rtc.SignalResponse(leave=leave))
        assert anyio.current_time() - start < 1
        assert alice.local_participant.sid != sid


@pytest.mark.rule("L2")
async def test_a_server_that_sends_us_away_again_and_again_is_asked_with_pauses() -> None:
    joined: list[float] = []
    server = ScriptedServer(others=())

    def send_away() -> None:
        joined.append(anyio.current_time())
        leave = rtc.LeaveRequest(action=rtc.LeaveRequest.RECONNECT)
        server.send_signal(leave=leave)

    async with Room().connect(server, "a token") as alice:
        alice.on("reconnected", lambda resumed: send_away())  # noqa: ARG005
        send_away()
        await anyio.sleep(600)
    assert 20 < len(joined) < 300


@pytest.mark.rule("L2")
async def test_a_token_is_asked_for_before_each_attempt_and_twice_if_refused() -> None:
    asked: list[float] = []

    async def token() -> str:
        asked.append(anyio.current_time())
        return make_token("alice") if len(asked) == 1 else "expired"

    async def lose() -> None:
        async with pair(token) as (_, _, network):
            network.cut("alice")
            await anyio.sleep_forever()

    with pytest.raises(DisconnectedError, match="refused: ") as caught:
        await lose()
    assert caught.value.reason is DisconnectReason.JOIN_FAILURE
    assert len(asked) == 4


@pytest.mark.rule("L2")
async def test_who_is_removed_does_not_come_back() -> None:

    async def lose() -> None:
        server = RoomServer(API_KEYS, LIMITS)
        network = FaultyNetwork(server)
        async with Room().connect(network, make_token("alice"), reconnect=LATE) as alice:
            await cut_and_rejoin(alice, network)
            server.remove_participant(ROOM, "alice")
            await anyio.sleep_forever()

    with pytest.raises(DisconnectedError) as caught:
        await lose()
    assert caught.value.reason is DisconnectReason.PARTICIPANT_REMOVED


@pytest.mark.rule("L7")
async def test_who_was_replaced_meanwhile_does_not_come_back() -> None:
    server = RoomServer(API_KEYS, LIMITS)
    network = FaultyNetwork(server)
    alice, successor = Room(), Room()
    async with alice.connect(
        network, make_token("alice"), reconnect=LATE, on_disconnect="continue"
    ):
        network.cut()
        async with successor.connect(server, make_token("alice")):
            assert await alice.wait_disconnected() is DisconnectReason.DUPLICATE_IDENTITY
            assert successor.isconnected()


@pytest.mark.rule("L7")
async def test_an_attempt_whose_answer_was_lost_is_made_again() -> None:
    server = RoomServer(API_KEYS, LIMITS)
    network = FaultyNetwork(server)
    policy = ReconnectPolicy(first_delay=3, base=1, factor=1)
    async with Room().connect(network, make_token("alice"), reconnect=policy) as alice:
        sid = alice.local_participant.sid
        network.stall()
        network.cut()
        # The server admits it, and its response does not arrive.
        await anyio.sleep(12)
        assert alice.local_participant.sid == sid
        network.restore()
        await anyio.sleep(30)
        assert alice.isconnected()
        assert alice.local_participant.sid != sid


@pytest.mark.rule("L1")
@pytest.mark.parametrize("moment", [0.0, 1.0, 3.0, 5.0, 7.5, 12.0])
@pytest.mark.parametrize(
    ("is_refused", "is_stalled"), [(False, False), (True, False), (False, True)]
)
async def test_the_block_ends_at_once_in_every_state(
    moment: float, is_refused: bool, is_stalled: bool
) -> None:
    policy = ReconnectPolicy(first_delay=2, base=4, factor=1)
    async with pair(reconnect=policy) as (alice, bob, network):
        if is_stalled:
            network.stall("alice")
        network.restart(RoomServer(API_KEYS))
        if is_refused:
            network.refuse()
        await anyio.sleep(moment)
        start = anyio.current_time()
    assert anyio.current_time() - start <= 4
    assert alice.statistics() == bob.statistics() == Room().statistics()


@pytest.mark.rule("L7")
async def test_a_hundred_rejoins_leave_nothing_behind() -> None:
    held: set[int] = set()
    policy = ReconnectPolicy(first_delay=5)
    async with pair(reconnect=policy) as (alice, bob, network):
        for _ in range(100):
            await cut_and_rejoin(alice, network)
            # Until the requests of the last round are forgotten
            await anyio.sleep(90)
            assert await call(bob, "alice") == "hi"
            assert await call(alice, "bob") == "hi"
            held.add(alice.statistics().held_bytes)
    assert len(held) == 1
