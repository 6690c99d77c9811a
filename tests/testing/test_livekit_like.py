"""A server in memory that treats its participants as a livekit-server does."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from livekit.protocol import metrics, models, rtc

from trio_rpc import (
    DisconnectReason,
    ReconnectPolicy,
    Room,
    RpcError,
    RpcInvocationData,
)
from trio_rpc.events import Reconnected
from trio_rpc.links import Channel, Link, LinkClosedError
from trio_rpc.participant import ParticipantState
from trio_rpc.server import RoomServer
from trio_rpc.testing import FaultyNetwork, LiveKitLikeServer, open_rooms
from trio_rpc.testing.livekit_like import OPENING_SECONDS

from ..support.scripted_client import ScriptedClient
from ..support.waiting import wait_until

pytestmark = pytest.mark.anyio

Codes = RpcError.ErrorCode
State = models.ParticipantInfo


@pytest.fixture
def server() -> LiveKitLikeServer:
    return LiveKitLikeServer()


@asynccontextmanager
async def scripted(
    server: LiveKitLikeServer,
    identity: str,
    link: AbstractAsyncContextManager[Link] | None = None,
    **grants: Any,
) -> AsyncIterator[ScriptedClient]:
    """Be in the room as a client that the test scripts.

    Args:
        link: Its link; by default, one that announces it.
    """
    token = server.token(identity, **grants)
    async with link or server.open_link(token, rtc.JoinRequest()) as opened:
        client = ScriptedClient(identity, opened, rtc.JoinResponse())
        client.join = (await client.expect_signal("join")).join
        yield client
        with suppress(LinkClosedError):
            client.send_signal(leave=rtc.LeaveRequest(reason=models.CLIENT_INITIATED))


def unannounced(server: LiveKitLikeServer, identity: str) -> AbstractAsyncContextManager[Link]:
    return server.unannounced.open_link(server.token(identity), rtc.JoinRequest())


def unopened(server: LiveKitLikeServer, identity: str) -> AbstractAsyncContextManager[Link]:
    """Return a link that can be used before its data channels are open."""
    return RoomServer.open_link(server, server.token(identity), rtc.JoinRequest())


async def next_update(client: ScriptedClient) -> list[models.ParticipantInfo]:
    while True:
        message = await client.receive()
        if isinstance(message, rtc.SignalResponse) and message.HasField("update"):
            return list(message.update.participants)


async def update_about(client: ScriptedClient, identity: str) -> models.ParticipantInfo:
    while True:
        for info in await next_update(client):
            if info.identity == identity:
                return info


async def packets_until(client: ScriptedClient, payload: bytes) -> list[bytes]:
    """Return the payloads of the packets up to one with `payload`."""
    payloads = [b""]
    while payloads[-1] != payload:
        payloads.append((await client.receive_packet()).user.payload)
    return payloads[1:]


def user(payload: bytes) -> models.UserPacket:
    return models.UserPacket(payload=payload)


async def echo(data: RpcInvocationData) -> str:
    return f"{data.caller_identity}: {data.payload}"


async def call(room: Room, identity: str, response_timeout: float = 10) -> str:
    return await room.local_participant.perform_rpc(
        destination_identity=identity,
        method="echo",
        payload="hi",
        response_timeout=response_timeout,
    )


# The roster


async def test_participants_of_this_library_call_each_other_at_once(
    server: LiveKitLikeServer,
) -> None:
    started = anyio.current_time()
    async with open_rooms("alice", "bob", server=server) as (alice, bob):
        bob.register_rpc_method("echo", echo)
        assert await call(alice, "bob") == "alice: hi"
        assert bob.local_participant.state is ParticipantState.ACTIVE
        assert alice.remote_participants["bob"].is_active
    assert anyio.current_time() - started < 1


async def test_one_that_publishes_nothing_is_announced_in_the_next_batch(
    server: LiveKitLikeServer,
) -> None:
    async with scripted(server, "alice") as alice:
        await anyio.sleep(4.3)
        # It was announced at once itself, and is in no batch.
        assert str(await alice.settle()).count("update {") == 1
        started = anyio.current_time()
        async with scripted(server, "browser", unannounced(server, "browser")) as browser:
            assert [each.identity for each in browser.join.other_participants] == ["alice"]
            info = await update_about(alice, "browser")
            assert info.state == State.ACTIVE
            assert 1 < anyio.current_time() - started < 3
            # Everybody gets the batch, those whom it is about as well.
            assert (await update_about(browser, "browser")).state == State.ACTIVE
        left_at = anyio.current_time()
        info = await update_about(alice, "browser")
        assert (info.state, info.disconnect_reason) == (
            State.DISCONNECTED,
            models.CLIENT_INITIATED,
        )
        assert 2.5 < anyio.current_time() - left_at <= 3


async def test_one_that_has_come_and_gone_between_batches_is_announced_as_gone_alone(
    server: LiveKitLikeServer,
) -> None:
    async with scripted(server, "alice") as alice:
        async with scripted(server, "browser", unannounced(server, "browser")):
            await anyio.sleep(1)
        assert (await update_about(alice, "browser")).state == State.DISCONNECTED


async def test_a_change_announces_at_once(server: LiveKitLikeServer) -> None:
    async with (
        scripted(server, "alice") as alice,
        server.open_room(
            "browser", through=server.unannounced, can_update_own_metadata=True
        ) as browser,
    ):
        started = anyio.current_time()
        await browser.local_participant.set_attributes({"seat": "window"})
        info = await update_about(alice, "browser")
        assert dict(info.attributes) == {"seat": "window"}
        assert anyio.current_time() - started < 0.1


async def test_a_data_track_announces_at_once_from_then_on(server: LiveKitLikeServer) -> None:
    async with scripted(server, "alice") as alice:
        async with scripted(server, "bob") as bob:
            started = anyio.current_time()
            info = await update_about(alice, "bob")
            assert (info.state, info.is_publisher) == (State.ACTIVE, True)
            # So is the publisher itself.
            assert (await update_about(bob, "bob")).is_publisher
        assert (await update_about(alice, "bob")).state == State.DISCONNECTED
        assert anyio.current_time() - started < 0.1


async def test_hidden_participants_are_in_no_batch(server: LiveKitLikeServer) -> None:
    async with scripted(server, "alice") as alice, scripted(server, "ghost", hidden=True):
        await anyio.sleep(7)
        for message in await alice.settle():
            assert isinstance(message, rtc.SignalResponse)
            assert "ghost" not in str(message)


@pytest.mark.parametrize("announced", [True, False])
async def test_of_one_that_is_replaced_the_next_session_is_announced_alone(
    server: LiveKitLikeServer, announced: bool
) -> None:
    def link() -> AbstractAsyncContextManager[Link]:
        if announced:
            return server.open_link(server.token("bob"), rtc.JoinRequest())
        return unannounced(server, "bob")

    async with scripted(server, "alice") as alice, scripted(server, "bob", link()) as first:
        await update_about(alice, "bob")
        started = anyio.current_time()
        async with scripted(server, "bob", link()) as second:
            info = await update_about(alice, "bob")
            assert info.sid == second.sid
            assert info.state != State.DISCONNECTED
            assert anyio.current_time() - started < 0.1
            messages, _ = await first.receive_rest()
            leave = next(
                each.leave
                for each in messages
                if isinstance(each, rtc.SignalResponse) and each.HasField("leave")
            )
            assert leave.reason == models.DUPLICATE_IDENTITY


async def test_a_call_of_one_that_is_not_announced_yet_waits(server: LiveKitLikeServer) -> None:
    async with server.open_room("agent") as agent:
        browser = Room()
        browser.register_rpc_method("echo", echo)
        await anyio.sleep(0.5)
        async with server.open_room("browser", browser, through=server.unannounced):
            assert "browser" not in agent.remote_participants
            started = anyio.current_time()
            assert await call(agent, "browser") == "agent: hi"
            assert 1 < anyio.current_time() - started < 3


async def test_a_call_by_one_that_is_not_announced_yet_is_answered(
    server: LiveKitLikeServer,
) -> None:
    callers: list[str] = []

    async def greet(data: RpcInvocationData) -> str:
        callers.append(data.caller_identity)
        assert "browser" not in agent.remote_participants
        return "hello"

    async with server.open_room("agent") as agent:
        agent.register_rpc_method("echo", greet)
        async with server.open_room("browser", through=server.unannounced) as browser:
            assert await call(browser, "agent") == "hello"
    assert callers == ["browser"]


@pytest.mark.rule("C7")
@pytest.mark.parametrize(("response_timeout", "seconds"), [(10, 3.5), (2, 2)])
async def test_a_call_to_nobody_is_1401_after_the_roster_cannot_be_late_any_more(
    server: LiveKitLikeServer, response_timeout: float, seconds: float
) -> None:
    async with server.open_room("alice") as alice:
        started = anyio.current_time()
        with pytest.raises(RpcError) as raised:
            await call(alice, "nobody", response_timeout)
        assert raised.value.code == Codes.RECIPIENT_NOT_FOUND
        assert anyio.current_time() - started == pytest.approx(seconds, abs=0.01)


# Packets


@pytest.mark.parametrize("late", [1, 2, 3], ids=["below", "just below", "equal"])
async def test_a_packet_whose_number_does_not_rise_is_dropped(
    server: LiveKitLikeServer, late: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trio_rpc")
    async with scripted(server, "alice") as alice, scripted(server, "bob") as bob:
        for number, payload in [(3, b"3"), (late, b"late"), (0, b"0"), (7, b"7")]:
            alice.send(models.DataPacket(sequence=number, user=user(payload)))
        received = [await bob.receive_packet() for _ in range(3)]
    assert [(each.sequence, each.user.payload) for each in received] == [
        (3, b"3"),
        (0, b"0"),
        (7, b"7"),
    ]
    assert f"dropped a packet of alice with the number {late}, after 3" in caplog.text


async def test_a_lossy_packet_may_have_any_number(server: LiveKitLikeServer) -> None:
    async with scripted(server, "alice") as alice, scripted(server, "bob") as bob:
        alice.send(models.DataPacket(sequence=3, user=user(b"3")))
        alice.send(models.DataPacket(sequence=2, user=user(b"2")), Channel.LOSSY)
        assert await packets_until(bob, b"2") == [b"3", b"2"]


async def test_a_participant_gets_packets_with_a_number_once_its_channels_are_open(
    server: LiveKitLikeServer,
) -> None:
    async with (
        scripted(server, "alice") as alice,
        scripted(server, "bob", unopened(server, "bob")) as bob,
    ):
        assert bob.join.participant.state == State.JOINED
        alice.send(models.DataPacket(sequence=1, user=user(b"kept")))
        alice.send(models.DataPacket(user=user(b"without a number")))
        alice.send(models.DataPacket(user=user(b"lossy")), Channel.LOSSY)
        alice.send(models.DataPacket(sequence=2, user=user(b"kept too")))
        await alice.settle()
        assert not any(isinstance(each, models.DataPacket) for each in await bob.settle())
        await anyio.sleep(0.1)
        alice.send(models.DataPacket(sequence=3, user=user(b"open")))
        assert await packets_until(bob, b"open") == [b"kept", b"kept too", b"open"]


async def test_packets_are_not_kept_for_long(
    server: LiveKitLikeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_rpc.testing.livekit_like._SERVER_OPENING", 3)
    async with (
        scripted(server, "alice") as alice,
        scripted(server, "bob", unopened(server, "bob")) as bob,
    ):
        alice.send(models.DataPacket(sequence=1, user=user(b"too old")))
        await anyio.sleep(2)
        alice.send(models.DataPacket(sequence=2, user=user(b"kept")))
        for number in range(3, 5):
            alice.send(models.DataPacket(sequence=number, user=user(bytes(49_900))))
        await anyio.sleep(2)
        alice.send(models.DataPacket(sequence=5, user=user(b"open")))
        assert await packets_until(bob, b"open") == [bytes(49_900), bytes(49_900), b"open"]


async def test_what_cannot_be_delivered_is_dropped_without_a_word(
    server: LiveKitLikeServer,
) -> None:
    async with (
        scripted(server, "alice") as alice,
        scripted(server, "mute", can_publish_data=False) as mute,
    ):
        request = models.RpcRequest(id="1", method="echo", version=1, response_timeout_ms=1000)
        alice.send_to("nobody", rpc_request=request)
        alice.send_to("alice", rpc_request=request)
        mute.send_to("alice", rpc_request=request)
        mute.send_to("alice", user=user(b"not allowed"))
        heard = [*await mute.settle(), *await alice.settle()]
    assert {
        each.WhichOneof("message") for each in heard if isinstance(each, rtc.SignalResponse)
    } <= {
        "update",
        "publish_data_track_response",
        "room_update",
    }
    assert not any(isinstance(each, models.DataPacket) for each in heard)


async def test_transcriptions_come_from_agents_alone_and_metrics_from_nobody(
    server: LiveKitLikeServer,
) -> None:
    async with scripted(server, "alice") as alice, scripted(server, "bob") as bob:
        alice.send(models.DataPacket(transcription=models.Transcription(track_id="TR_1")))
        alice.send(models.DataPacket(metrics=metrics.MetricsBatch(timestamp_ms=1)))
        alice.send(models.DataPacket(sip_dtmf=models.SipDTMF(digit="1")))
        assert (await bob.receive_packet()).sip_dtmf.digit == "1"


async def test_a_chunk_without_destinations_goes_to_everybody(server: LiveKitLikeServer) -> None:
    async with (
        scripted(server, "alice") as alice,
        scripted(server, "bob") as bob,
        scripted(server, "carol") as carol,
    ):
        header = models.DataStream.Header(stream_id="1", topic="news")
        alice.send_to("bob", stream_header=header)
        alice.send(models.DataPacket(stream_chunk=models.DataStream.Chunk(stream_id="1")))
        assert (await bob.receive_packet()).HasField("stream_header")
        for each in (bob, carol):
            assert (await each.receive_packet()).HasField("stream_chunk")


async def test_a_hidden_participant_can_be_called_and_has_no_name_itself(
    server: LiveKitLikeServer,
) -> None:
    async with scripted(server, "alice") as alice, scripted(server, "ghost", hidden=True) as ghost:
        request = models.RpcRequest(id="1", method="echo", version=1, response_timeout_ms=1000)
        alice.send_to("ghost", rpc_request=request)
        packet = await ghost.receive_packet()
        assert (packet.rpc_request.id, packet.participant_identity) == ("1", "alice")
        ghost.send_to("alice", rpc_request=request)
        packet = await alice.receive_packet()
        assert (packet.rpc_request.id, packet.participant_identity) == ("1", "")
        ghost.send_to("alice", user=models.UserPacket(payload=b"boo", participant_identity="bob"))
        packet = await alice.receive_packet()
        assert packet.user.payload == b"boo"
        assert not packet.user.participant_identity


# Metadata


async def test_what_is_empty_is_unchanged(server: LiveKitLikeServer) -> None:
    async with server.open_room("alice", can_update_own_metadata=True) as alice:
        me = alice.local_participant
        await me.set_metadata("here")
        await me.set_name("Alice")
        await me.set_attributes({"seat": "window", "cup": "tea"})
        await me.set_metadata("")
        await me.set_name("")
        await me.set_attributes({"cup": ""})
        assert (me.metadata, me.name, me.attributes) == ("here", "Alice", {"seat": "window"})


async def test_what_is_unchanged_is_not_announced(server: LiveKitLikeServer) -> None:
    async with (
        scripted(server, "alice") as alice,
        server.open_room("bob", can_update_own_metadata=True) as bob,
    ):
        await bob.local_participant.set_metadata("here")
        await alice.settle()
        await bob.local_participant.set_metadata("here")
        await bob.local_participant.set_metadata("")
        assert not await alice.settle()
        await bob.local_participant.set_name("Bob")
        assert (await update_about(alice, "bob")).name == "Bob"


async def test_metadata_may_be_larger_than_attributes(server: LiveKitLikeServer) -> None:
    async with server.open_room("alice", can_update_own_metadata=True) as alice:
        me = alice.local_participant
        await me.set_metadata("x" * 512 * 1024)
        with pytest.raises(Exception, match="over the limit of 524,288"):
            await me.set_metadata("x" * (512 * 1024 + 1))
        await me.set_attributes({"a": "x" * (64 * 1024 - 1)})
        with pytest.raises(Exception, match="over the limit of 65,536"):
            await me.set_attributes({"a": "x" * (64 * 1024)})


# Leaving, and losing the connection


async def test_packets_that_were_sent_before_leaving_arrive(server: LiveKitLikeServer) -> None:
    async with scripted(server, "alice") as alice:
        async with server.open_room("bob") as bob:
            for number in range(20):
                await bob.local_participant.publish_data(bytes([number]))
        received = [(await alice.receive_packet()).user.payload for _ in range(20)]
        assert received == [bytes([number]) for number in range(20)]
        while (info := await update_about(alice, "bob")).state != State.DISCONNECTED:
            pass
        assert info.disconnect_reason == models.CLIENT_INITIATED


async def test_a_leave_is_answered_with_a_leave_and_ends_the_session(
    server: LiveKitLikeServer,
) -> None:
    async with scripted(server, "bob", unopened(server, "bob")) as bob:
        bob.send_signal(leave=rtc.LeaveRequest(reason=models.CLIENT_INITIATED))
        messages, _ = await bob.receive_rest()
        assert isinstance(messages[-1], rtc.SignalResponse)
        assert messages[-1].leave.action == rtc.LeaveRequest.DISCONNECT
        assert not server.statistics().participants


async def test_one_that_is_gone_without_leaving_is_announced_after_20_seconds(
    server: LiveKitLikeServer,
) -> None:
    network = FaultyNetwork(server)
    async with open_rooms(
        "alice",
        "bob",
        server=server,
        through={"bob": network},
        reconnect=None,
        on_disconnect="continue",
    ) as (alice, _):
        left: list[DisconnectReason] = []
        alice.on("participant_disconnected", lambda bob: left.append(bob.disconnect_reason))
        started = anyio.current_time()
        network.cut()
        await wait_until(lambda: bool(left))
        assert left == [DisconnectReason.CONNECTION_TIMEOUT]
        assert 19.9 <= anyio.current_time() - started < 22


async def test_one_that_comes_back_joins_again_and_its_calls_go_on(
    server: LiveKitLikeServer,
) -> None:
    network = FaultyNetwork(server)
    started = anyio.Event()
    answers: list[str] = []

    async def slow(data: RpcInvocationData) -> str:
        started.set()
        await anyio.sleep(3)
        return data.payload

    async def ask() -> None:
        answers.append(await call(alice, "bob"))

    events: list[str] = []
    async with open_rooms("alice", "bob", server=server, through={"bob": network}) as (alice, bob):
        bob.register_rpc_method("echo", slow)
        alice.on("participant_disconnected", lambda _: events.append("left"))
        bob.on("reconnected", lambda resumed: events.append(f"resumed: {resumed}"))
        sid = bob.local_participant.sid
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(ask)
            await started.wait()
            network.cut("bob")
        assert bob.local_participant.sid != sid
    assert answers == ["hi"]
    assert "resumed: False" in events


async def test_joining_again_begins_after_the_first_delay(server: LiveKitLikeServer) -> None:
    network = FaultyNetwork(server)
    async with server.open_room(
        "alice", through=network, reconnect=ReconnectPolicy(first_delay=10)
    ) as alice:
        await anyio.sleep(30)
        async with alice.events(Reconnected) as events:
            started = anyio.current_time()
            network.cut()
            assert await anext(events) == Reconnected(resumed=False)
        assert anyio.current_time() - started == pytest.approx(10 + OPENING_SECONDS, abs=0.01)


async def test_one_that_is_lost_before_its_channels_are_open_is_gone_at_once(
    server: LiveKitLikeServer,
) -> None:
    async with scripted(server, "alice") as alice:
        async with unopened(server, "bob") as link:
            await link.receive()
            await link.aclose()
        await alice.settle()
        assert server.statistics().participants == 1


async def test_another_may_take_the_place_of_one_that_is_lost(server: LiveKitLikeServer) -> None:
    """LiveKit's server does not check whose session was the last."""
    network = FaultyNetwork(server)
    async with server.open_room("bob", through=network, on_disconnect="continue") as first:
        network.cut()
        network.refuse()
        async with server.open_room("bob", on_disconnect="continue") as second:
            network.restore()
            await second.wait_disconnected()
        await wait_until(first.isconnected)
