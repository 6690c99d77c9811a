"""A server in memory that treats its participants as a livekit-server does."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, suppress

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc import (
    DisconnectReason,
    ReconnectPolicy,
    Room,
    RpcError,
    RpcInvocationData,
)
from trio_rpc.events import Reconnected
from trio_rpc.links import Link, LinkClosedError, LinkFullError
from trio_rpc.participant import ParticipantState
from trio_rpc.testing import FaultyNetwork, LiveKitLikeServer, open_rooms
from trio_rpc.testing.livekit_like import OPENING_SECONDS

from ..support.livekit_like import scripted, unannounced, unopened, update_about, user
from ..support.scripted_client import ScriptedClient
from ..support.waiting import wait_until

pytestmark = pytest.mark.anyio

Codes = RpcError.ErrorCode
State = models.ParticipantInfo


@pytest.fixture
def server() -> LiveKitLikeServer:
    return LiveKitLikeServer()


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


async def test_a_publisher_is_called_one_whenever_it_is_described(
    server: LiveKitLikeServer,
) -> None:
    async with (
        scripted(server, "alice") as alice,
        server.open_room("bob", can_update_own_metadata=True) as bob,
    ):
        await bob.local_participant.set_metadata("here")
        while (info := await update_about(alice, "bob")).metadata != "here":
            pass
        assert info.is_publisher
        async with scripted(server, "carol") as carol:
            others = {each.identity: each for each in carol.join.other_participants}
            assert others["bob"].is_publisher


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


@pytest.mark.parametrize("seconds", [0.02, 0.047])
async def test_one_that_is_cancelled_while_it_joins_leaves(
    server: LiveKitLikeServer, seconds: float
) -> None:
    with anyio.move_on_after(seconds) as scope:
        async with server.open_room("bob"):
            pass
    assert scope.cancelled_caught
    await wait_until(lambda: not server.statistics().participants, within=1)


def fill_queue(client: ScriptedClient, to: str) -> None:
    with suppress(LinkFullError):
        while True:
            client.send_to(to, user=user(bytes(8_000)))
    with suppress(LinkFullError):
        # Until there is no room for a `LeaveRequest` either
        while True:
            client.send_signal(ping_req=rtc.Ping())


async def test_one_with_a_full_queue_leaves_once_it_was_sent(server: LiveKitLikeServer) -> None:
    async with scripted(server, "alice") as alice, scripted(server, "bob") as bob:
        fill_queue(bob, "nobody")
        bob.send_signal(leave=rtc.LeaveRequest(reason=models.CLIENT_INITIATED))
        await bob.link.aclose()
        while (info := await update_about(alice, "bob")).state != State.DISCONNECTED:
            pass
        assert info.disconnect_reason == models.CLIENT_INITIATED


async def test_one_whose_full_queue_cannot_be_sent_ends_its_link(
    server: LiveKitLikeServer,
) -> None:
    async with scripted(server, "alice"), scripted(server, "bob") as bob:
        # Alice does not read: in the end, nothing of it is sent.
        for _ in range(5):
            fill_queue(bob, "alice")
            await anyio.sleep(1)
        bob.send_signal(leave=rtc.LeaveRequest(reason=models.CLIENT_INITIATED))
        await bob.link.aclose()
        with pytest.raises(LinkClosedError):
            bob.send_to("alice", user=user(b"late"))


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
