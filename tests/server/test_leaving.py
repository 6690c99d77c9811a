"""The end of a session as the others, and the one that leaves, are told of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc import DisconnectReason
from trio_rpc.events import ParticipantDisconnected
from trio_rpc.links import Channel
from trio_rpc.protocol.capabilities import CAN_RESUME
from trio_rpc.server import RoomServer

from ..conftest import Join
from ..support.messages import leave_reasons, signals, updates
from ..support.scripted_client import ScriptedClient, scripted_client, scripted_clients, settle_all
from ..support.tokens import ROOM

pytestmark = pytest.mark.anyio

Leaving = Callable[[RoomServer, ScriptedClient], Awaitable[None]]


def leaving_with(reason: DisconnectReason) -> Leaving:
    async def leave(_server: RoomServer, alice: ScriptedClient) -> None:
        alice.send_signal(leave=rtc.LeaveRequest(reason=reason.name))

    return leave


async def be_removed(server: RoomServer, _alice: ScriptedClient) -> None:
    server.remove_participant(ROOM, "alice")


async def close(_server: RoomServer, alice: ScriptedClient) -> None:
    await alice.link.aclose()


async def fall_silent(_server: RoomServer, _alice: ScriptedClient) -> None:
    await anyio.sleep(16)


async def send_nonsense(_server: RoomServer, alice: ScriptedClient) -> None:
    for _ in range(101):
        alice.send_frame(b"\xff", Channel.SIGNAL)


async def simulate_a_failure(_server: RoomServer, alice: ScriptedClient) -> None:
    alice.send_signal(simulate=rtc.SimulateScenario(node_failure=True))


WAYS = {
    "leaving": (leaving_with(DisconnectReason.CLIENT_INITIATED), "CLIENT_INITIATED"),
    "an agent's error": (leaving_with(DisconnectReason.AGENT_ERROR), "AGENT_ERROR"),
    "a rejected call": (leaving_with(DisconnectReason.USER_REJECTED), "USER_REJECTED"),
    "a reason of servers": (leaving_with(DisconnectReason.ROOM_DELETED), "CLIENT_INITIATED"),
    "being removed": (be_removed, "PARTICIPANT_REMOVED"),
    "closing": (close, "CONNECTION_TIMEOUT"),
    "silence": (fall_silent, "CONNECTION_TIMEOUT"),
    "nonsense": (send_nonsense, "STATE_MISMATCH"),
    "a simulated failure": (simulate_a_failure, "SERVER_SHUTDOWN"),
}


@pytest.mark.rule("V6")
@pytest.mark.parametrize(("leave", "reason"), WAYS.values(), ids=WAYS)
async def test_the_others_are_told_why_somebody_left(
    server: RoomServer, leave: Leaving, reason: str
) -> None:
    async with (
        scripted_client(server, "bob") as bob,
        scripted_client(server, "alice") as alice,
        anyio.create_task_group() as task_group,
    ):
        task_group.start_soon(bob.keep_alive)
        await settle_all([bob])
        await leave(server, alice)
        while not (told := updates([await bob.receive()])):
            pass
        [info] = told
        assert info.state == models.ParticipantInfo.DISCONNECTED
        assert models.DisconnectReason.Name(info.disconnect_reason) == reason
        task_group.cancel_scope.cancel()


@pytest.mark.rule("V5", "V6")
async def test_of_a_participant_that_is_replaced_the_others_are_told_that(
    server: RoomServer,
) -> None:
    async with (
        scripted_clients(server, "bob", "alice") as (bob, _),
        scripted_client(server, "alice"),
    ):
        gone, here = updates(await bob.settle())
        assert gone.disconnect_reason == models.DUPLICATE_IDENTITY
        assert here.disconnect_reason == models.UNKNOWN_REASON


@pytest.mark.rule("L6")
async def test_a_connection_that_was_not_resumed_has_timed_out(server: RoomServer) -> None:
    client = models.ClientInfo(capabilities=[CAN_RESUME])  # type: ignore[list-item]
    async with (
        scripted_client(server, "bob") as bob,
        scripted_client(server, "alice", client=client) as alice,
        anyio.create_task_group() as task_group,
    ):
        await settle_all([bob])
        task_group.start_soon(bob.keep_alive)
        await alice.link.aclose()
        await anyio.sleep(17)
        [info] = updates(await bob.settle())
        assert info.disconnect_reason == models.CONNECTION_TIMEOUT
        task_group.cancel_scope.cancel()


@pytest.mark.rule("V6")
async def test_our_participants_know_why_another_has_left(server: RoomServer, join: Join) -> None:
    async with join("bob") as bob, bob.events(ParticipantDisconnected) as events:
        async with join("alice"):
            alice = await bob.wait_for_participant("alice")
            assert alice.disconnect_reason is None
        event = await anext(events)
        assert event.participant is alice
        assert alice.disconnect_reason is DisconnectReason.CLIENT_INITIATED
        async with join("alice", on_disconnect="continue"):
            await bob.wait_for_participant("alice")
            server.remove_participant(ROOM, "alice")
            event = await anext(events)
            reason = event.participant.disconnect_reason
            assert reason is DisconnectReason.PARTICIPANT_REMOVED


async def test_a_leave_is_answered_with_a_leave(server: RoomServer) -> None:
    async with scripted_client(server, "alice") as alice:
        alice.send_signal(leave=rtc.LeaveRequest())
        messages, _ = await alice.receive_rest()
        assert leave_reasons(messages) == ["CLIENT_INITIATED"]
        [signal] = signals(messages)
        assert signal.leave.action == rtc.LeaveRequest.DISCONNECT
        assert not signal.leave.can_reconnect


# The number of participants


def sizes(messages: list[models.DataPacket | rtc.SignalResponse]) -> list[int]:
    """Return the numbers of participants in the updates of the room."""
    return [
        signal.room_update.room.num_participants
        for signal in signals(messages)
        if signal.HasField("room_update")
    ]


@pytest.mark.rule("V6")
async def test_everybody_is_told_the_number_of_participants_once_for_many(
    server: RoomServer,
) -> None:
    async with scripted_client(server, "bob") as bob:
        await anyio.sleep(5)
        assert sizes(await bob.settle()) == []
        async with (
            scripted_clients(server, "a", "b", "c") as others,
            scripted_client(server, "ghost", hidden=True) as ghost,
        ):
            await anyio.sleep(5)
            for each in (bob, ghost, *others):
                assert sizes(await each.settle()) == [4]
            await anyio.sleep(5)
            assert sizes(await bob.settle()) == []
        await anyio.sleep(5)
        assert sizes(await bob.settle()) == [1]


@pytest.mark.rule("V6")
async def test_a_replaced_participant_changes_no_number(server: RoomServer) -> None:
    async with scripted_clients(server, "bob", "alice") as (bob, alice):
        await anyio.sleep(5)
        await settle_all([bob, alice])
        async with scripted_client(server, "alice") as again:
            await anyio.sleep(5)
            assert sizes(await bob.settle()) == sizes(await again.settle()) == []
