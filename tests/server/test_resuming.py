"""A participant whose connection was lost stays for a while, and goes on (rules L3 to L6)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc.errors import RpcError
from trio_rpc.links import Channel
from trio_rpc.protocol.capabilities import CAN_RESUME
from trio_rpc.protocol.receipts import Receipts, read_receipt
from trio_rpc.server import RoomServer, ServerLimits, ServerStatistics

from ..support.messages import Message, leave_reasons, packets, request, signals, texts, told, user
from ..support.scripted_client import ScriptedClient, scripted_client
from ..support.tokens import API_KEYS, ROOM, make_token

pytestmark = pytest.mark.anyio

CLIENT = models.ClientInfo(client_protocol=2, capabilities=[CAN_RESUME])  # type: ignore[list-item]


def numbered(number: int, text: str, *destinations: str) -> models.DataPacket:
    """Return a packet of user data with a number."""
    packet = user(text, *destinations)
    packet.sequence = number
    return packet


@asynccontextmanager
async def resume(
    server: RoomServer,
    member: ScriptedClient,
    last_numbers: Mapping[str, int] | None = None,
    *,
    sid: str | None = None,
    token: str | None = None,
) -> AsyncIterator[ScriptedClient]:
    """Come back as a member over another link; the first message is the server's answer."""
    states = [
        rtc.DataChannelReceiveState(publisher_sid=publisher, last_seq=number)
        for publisher, number in (last_numbers or {}).items()
    ]
    again = rtc.JoinRequest(
        client_info=CLIENT,
        reconnect=True,
        participant_sid=member.sid if sid is None else sid,
        sync_state=rtc.SyncState(datachannel_receive_states=states),
    )
    async with server.open_link(token or make_token(member.identity), again) as link:
        yield ScriptedClient(member.identity, link, member.join)


@asynccontextmanager
async def alice_and_bob(
    server: RoomServer,
) -> AsyncIterator[tuple[ScriptedClient, ScriptedClient]]:
    """Be in the room as alice, and as bob who can resume."""
    async with (
        scripted_client(server, "alice") as alice,
        scripted_client(server, "bob", client=CLIENT) as bob,
    ):
        yield alice, bob


async def lose(member: ScriptedClient) -> None:
    """Close the link of a member without a word."""
    await member.link.aclose()
    await anyio.wait_all_tasks_blocked()


@pytest.mark.rule("L3", "L6")
async def test_a_participant_that_comes_back_has_never_left(server: RoomServer) -> None:
    async with alice_and_bob(server) as (alice, bob):
        await alice.settle()
        await lose(bob)
        await anyio.sleep(14)
        await alice.settle()
        async with resume(server, bob) as again:
            first, update, room = [await again.receive() for _ in range(3)]
            assert isinstance(first, rtc.SignalResponse)
            assert first.HasField("reconnect")
            assert told([update]) == [("bob", "ACTIVE"), ("alice", "ACTIVE")]
            assert isinstance(room, rtc.SignalResponse)
            assert room.room_update.room.name == ROOM
            assert await alice.settle() == []
            again.send(numbered(1, "hi", "alice"))
            assert texts(await again.settle()) == []
            assert texts(await alice.settle()) == ["hi"]


@pytest.mark.rule("L6")
async def test_a_participant_that_does_not_come_back_leaves_in_time(server: RoomServer) -> None:
    async with alice_and_bob(server) as (alice, bob):
        await alice.settle()
        start = anyio.current_time()
        await lose(bob)
        messages: list[Message] = []
        while not told(messages):
            alice.send_signal(ping=1)
            messages.append(await alice.receive())
            await anyio.sleep(0.1)
        assert told(messages) == [("bob", "DISCONNECTED")]
        assert anyio.current_time() - start == pytest.approx(15, abs=0.3)
        async with resume(server, bob) as again:
            messages, _ = await again.receive_rest()
            assert leave_reasons(messages) == ["STATE_MISMATCH"]
            assert signals(messages)[0].leave.action == rtc.LeaveRequest.RECONNECT


@pytest.mark.rule("L6")
async def test_a_room_ends_when_its_last_participant_does_not_resume(
    server: RoomServer,
) -> None:
    async with scripted_client(server, "bob", client=CLIENT) as bob:
        await lose(bob)
        assert server.statistics().participants == 1
        await anyio.sleep(15)
        assert server.statistics() == ServerStatistics(rooms=1, participants=0)
        await anyio.sleep(20)
        assert server.statistics() == ServerStatistics(rooms=0, participants=0)


@pytest.mark.rule("L4")
async def test_packets_that_were_missed_are_sent_again_and_no_others(server: RoomServer) -> None:
    async with alice_and_bob(server) as (alice, bob):
        for number in range(1, 6):
            alice.send(numbered(number, str(number), "bob"))
        await alice.settle()
        await lose(bob)
        for number in range(6, 9):
            alice.send(numbered(number, str(number), "bob"))
        await alice.settle()
        async with resume(server, bob, {alice.sid: 3}) as again:
            alice.send(numbered(9, "9", "bob"))
            await alice.settle()
            assert texts(await again.settle()) == ["4", "5", "6", "7", "8", "9"]


@pytest.mark.rule("L4")
async def test_a_publisher_that_is_not_listed_has_sent_nothing(server: RoomServer) -> None:
    async with alice_and_bob(server) as (alice, bob):
        alice.send(numbered(1, "first", "bob"))
        await alice.settle()
        await lose(bob)
        async with resume(server, bob) as again:
            assert texts(await again.settle()) == ["first"]


@pytest.mark.rule("L3")
async def test_the_server_reports_which_packets_it_has_and_takes_each_once(
    server: RoomServer,
) -> None:
    async with alice_and_bob(server) as (alice, bob):
        for number in range(1, 4):
            bob.send(numbered(number, str(number), "alice"))
        await bob.settle()
        await lose(bob)
        async with resume(server, bob) as again:
            answer = await again.receive()
            assert isinstance(answer, rtc.SignalResponse)
            assert answer.reconnect.last_message_seq == 3
            for number in range(2, 6):
                again.send(numbered(number, str(number), "alice"))
            await again.settle()
            assert texts(await alice.settle()) == ["1", "2", "3", "4", "5"]


@pytest.mark.rule("L4")
async def test_the_servers_own_answers_are_sent_again(server: RoomServer) -> None:
    async with scripted_client(server, "bob", client=CLIENT) as bob:
        bob.send(request("nobody", request_id="42"))
        arrived = packets(await bob.settle())
        assert [each.participant_sid for each in arrived] == [bob.join.room.sid] * 2
        assert [each.sequence for each in arrived] == [1, 2]
        await lose(bob)
        async with resume(server, bob, {bob.join.room.sid: 1}) as again:
            (response,) = packets(await again.settle())
            assert response.rpc_response.request_id == "42"
            assert response.rpc_response.error.code == RpcError.ErrorCode.RECIPIENT_NOT_FOUND


@pytest.mark.rule("L4")
async def test_packets_of_a_publisher_that_does_not_number_are_numbered(
    server: RoomServer,
) -> None:
    async with alice_and_bob(server) as (alice, bob):
        for text in ("a", "b", "c"):
            alice.send(user(text, "bob"))
        await alice.settle()
        await lose(bob)
        async with resume(server, bob, {alice.sid: 1}) as again:
            assert texts(await again.settle()) == ["b", "c"]


@pytest.mark.rule("L5")
async def test_a_receipt_comes_with_every_pong(server: RoomServer) -> None:
    async with (
        scripted_client(server, "alice"),
        scripted_client(server, "bob", client=CLIENT) as bob,
    ):
        for number in range(1, 4):
            bob.send(numbered(number, "x", "alice"))
        await bob.settle()
        assert [read_receipt(each) for each in bob.receipts] == [3]
        bob.send(numbered(4, "x", "alice"))
        await bob.settle()
        assert [read_receipt(each) for each in bob.receipts] == [3, 4]


@pytest.mark.rule("L5")
async def test_what_is_retained_is_bounded_and_beyond_it_a_resume_is_refused() -> None:
    server = RoomServer(API_KEYS, ServerLimits(max_queue_bytes=100_000))
    async with alice_and_bob(server) as (alice, bob):
        for number in range(1, 101):
            alice.send(numbered(number, "x" * 5_000, "bob"))
            await alice.settle()
            await bob.settle()
        await lose(bob)
        async with resume(server, bob, {alice.sid: 50}) as again:
            messages, reason = await again.receive_rest()
            assert leave_reasons(messages) == ["STATE_MISMATCH"]
            assert "not retained any more" in reason
        assert told(await alice.settle()) == []
        async with scripted_client(server, "bob", client=CLIENT):
            (update,) = signals(await alice.settle())
            assert told([update]) == [("bob", "DISCONNECTED"), ("bob", "ACTIVE")]


@pytest.mark.rule("L5")
async def test_receipts_keep_what_is_retained_small() -> None:
    server = RoomServer(API_KEYS, ServerLimits(max_queue_bytes=100_000))
    async with alice_and_bob(server) as (alice, bob):
        receipts = Receipts()
        for number in range(1, 101):
            alice.send(numbered(number, "x" * 5_000, "bob"))
            await alice.settle()
            for packet in packets(await bob.settle()):
                receipts.add(1, packet.ByteSize())
            bob.send_frame(receipts.take() or b"", Channel.RECEIPT)
        alice.send(numbered(101, "the last", "bob"))
        await alice.settle()
        await lose(bob)
        async with resume(server, bob, {alice.sid: 100}) as again:
            assert texts(await again.settle()) == ["the last"]


@pytest.mark.rule("L6")
async def test_a_link_takes_over_from_one_that_is_half_open(server: RoomServer) -> None:
    async with alice_and_bob(server) as (alice, bob):
        await alice.settle()
        async with resume(server, bob) as again:
            await again.settle()
            await bob.receive_rest()
            alice.send(numbered(1, "hi", "bob"))
            assert told(await alice.settle()) == []
            assert texts(await again.settle()) == ["hi"]


@pytest.mark.rule("L6")
async def test_a_link_that_took_over_may_be_taken_over(server: RoomServer) -> None:
    async with (
        scripted_client(server, "alice") as alice,
        scripted_client(server, "bob", client=CLIENT) as bob,
        resume(server, bob) as second,
    ):
        await second.settle()
        async with resume(server, bob) as third:
            await third.settle()
            _, reason = await second.receive_rest()
            assert reason == "it came back over another connection"
            alice.send(numbered(1, "hi", "bob"))
            await alice.settle()
            assert texts(await third.settle()) == ["hi"]
            assert server.statistics().participants == 2


@pytest.mark.rule("L6")
async def test_nobody_takes_over_with_another_sid_or_identity(server: RoomServer) -> None:
    async with (
        scripted_client(server, "alice", client=CLIENT) as alice,
        scripted_client(server, "bob", client=CLIENT) as bob,
        resume(server, bob, sid=alice.sid) as with_another_sid,
        resume(server, bob, token=make_token("mallory")) as with_another_identity,
    ):
        for forged in (with_another_sid, with_another_identity):
            messages, reason = await forged.receive_rest()
            assert leave_reasons(messages) == ["STATE_MISMATCH"]
            assert len(messages) == 1
            assert reason.endswith("there is no such session (any more)")
        assert packets(await bob.settle()) == []


async def test_a_client_that_cannot_resume_leaves_at_once(server: RoomServer) -> None:
    async with scripted_client(server, "alice") as alice, scripted_client(server, "bob") as bob:
        await alice.settle()
        await lose(bob)
        assert told(await alice.settle()) == [("bob", "DISCONNECTED")]


@pytest.mark.rule("L6")
async def test_who_joins_as_a_participant_that_was_lost_takes_its_place(
    server: RoomServer,
) -> None:
    async with alice_and_bob(server) as (alice, bob):
        await alice.settle()
        await lose(bob)
        async with scripted_client(server, "bob", client=CLIENT):
            (update,) = signals(await alice.settle())
            assert told([update]) == [("bob", "DISCONNECTED"), ("bob", "ACTIVE")]


@pytest.mark.rule("L6")
async def test_a_participant_that_was_lost_can_be_removed(server: RoomServer) -> None:
    async with alice_and_bob(server) as (alice, bob):
        await alice.settle()
        await lose(bob)
        server.remove_participant(ROOM, "bob")
        assert told(await alice.settle()) == [("bob", "DISCONNECTED")]


@pytest.mark.rule("L6")
async def test_a_server_shuts_down_without_waiting_for_detached_members(
    server: RoomServer,
) -> None:
    async with scripted_client(server, "bob", client=CLIENT) as bob:
        await lose(bob)
        start = anyio.current_time()
        await server.shut_down()
        assert anyio.current_time() == start


@pytest.mark.rule("L6", "B8")
async def test_nobody_waits_long_for_room_in_the_queue_of_a_participant_that_was_lost() -> None:
    server = RoomServer(API_KEYS, ServerLimits(max_queue_bytes=100_000))
    async with (
        alice_and_bob(server) as (alice, bob),
        scripted_client(server, "carol") as carol,
    ):
        await alice.settle()
        await lose(bob)
        start = anyio.current_time()
        for number in range(1, 41):
            alice.send(numbered(number, "x" * 5_000))
        # carol reads what alice sends to all, so it is bob whom alice waits for.
        received: list[Message] = []
        while len(texts(received)) < 40:
            received.append(await carol.receive())
        assert anyio.current_time() - start == pytest.approx(2, abs=0.1)
        assert told(received) == [("bob", "DISCONNECTED")]
        async with resume(server, bob) as again:
            messages, _ = await again.receive_rest()
            assert leave_reasons(messages) == ["STATE_MISMATCH"]
            assert packets(messages) == []
        await alice.settle()


@pytest.mark.rule("L6", "B8")
async def test_a_wait_for_a_slow_participant_ends_when_that_is_lost_with_its_queue_retained() -> (
    None
):
    server = RoomServer(API_KEYS, ServerLimits(max_queue_bytes=100_000))
    async with alice_and_bob(server) as (alice, bob):
        await alice.settle()
        for number in range(1, 41):
            alice.send(numbered(number, "x" * 4_000, "bob"))
        # bob does not read: alice waits.
        await anyio.sleep(10)
        await lose(bob)
        await anyio.sleep(1)
        async with resume(server, bob) as again:
            received: list[str] = []
            while len(received) < 40:
                received += texts(await again.settle())
            await alice.settle()


@pytest.mark.rule("L6")
async def test_whoever_sends_much_to_a_participant_that_was_lost_waits_for_it() -> None:
    server = RoomServer(API_KEYS, ServerLimits(max_queue_bytes=100_000))
    async with alice_and_bob(server) as (alice, bob):
        await alice.settle()
        await lose(bob)
        for number in range(1, 41):
            alice.send(numbered(number, "x" * 5_000, "bob"))
        await anyio.sleep(1)
        async with resume(server, bob) as again:
            received: list[str] = []
            while len(received) < 40:
                received += texts(await again.settle())
            await alice.settle()
