"""Requests to resume that are forged, late, or too much: refused, and nothing is given away."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc import ConnectError
from trio_rpc.links import Channel, LinkClosedError
from trio_rpc.server import RoomServer, ServerLimits
from trio_rpc.tokens import AccessToken, VideoGrants

from ..support.messages import Message, leave_reasons, packets, signals, texts, told, user
from ..support.scripted_client import ScriptedClient, scripted_client
from ..support.tokens import API_KEY, API_KEYS, API_SECRET, ROOM, make_token
from .test_resuming import CLIENT, alice_and_bob, lose, numbered, resume

pytestmark = pytest.mark.anyio

#: More than was ever sent, up to the largest of a uint32, which is -1 as well.
FORGED = [3, 1_000_000, 2**31, 2**32 - 1]


def assert_refused(messages: list[Message], reason: str) -> None:
    """Check that a refusal says that the client has to join again, and nothing else."""
    (refusal,) = signals(messages)
    assert packets(messages) == []
    leave = rtc.LeaveRequest(
        reason=models.STATE_MISMATCH, action=rtc.LeaveRequest.RECONNECT, can_reconnect=True
    )
    assert refusal == rtc.SignalResponse(leave=leave)
    # No identity, number or text of anybody
    for word in ("alice", "bob", "secret", "PA_", "RM_"):
        assert word not in reason


async def refusal_of(forged: ScriptedClient) -> str:
    messages, reason = await forged.receive_rest()
    assert_refused(messages, reason)
    return reason


@pytest.mark.rule("L3")
@pytest.mark.parametrize("sid", ["", "PA_0123456789abcdef", "x" * 10_000, "RM_1", "PA_%s\n", "ü"])
async def test_an_unknown_sid_is_refused(sid: str, server: RoomServer) -> None:
    async with (
        scripted_client(server, "bob", client=CLIENT) as bob,
        resume(server, bob, sid=sid) as forged,
    ):
        assert (await refusal_of(forged)).endswith("there is no such session (any more)")
        assert await bob.settle() == []


@pytest.mark.rule("L3", "L6")
async def test_another_participants_sid_takes_nothing_of_it(server: RoomServer) -> None:
    async with alice_and_bob(server) as (alice, bob):
        alice.send(numbered(1, "a secret", "bob"))
        await alice.settle()
        await lose(bob)
        async with resume(server, bob, token=make_token("mallory")) as forged:
            await refusal_of(forged)
        assert told(await alice.settle())[-1:] != [("mallory", "ACTIVE")]
        # bob still finds all of it.
        async with resume(server, bob) as again:
            assert texts(await again.settle()) == ["a secret"]


@pytest.mark.rule("L3")
async def test_the_sid_of_a_session_in_another_room_is_refused(server: RoomServer) -> None:
    async with (
        scripted_client(server, "bob", client=CLIENT, room="other") as bob,
        scripted_client(server, "alice"),
        resume(server, bob, token=make_token("bob")) as forged,
    ):
        await refusal_of(forged)
        assert await bob.settle() == []


@pytest.mark.rule("L3", "V1")
@pytest.mark.parametrize("wrong", ["key", "room grant", "no token"])
async def test_a_token_that_admits_nobody_resumes_nothing(wrong: str, server: RoomServer) -> None:
    grants = VideoGrants(room_join=wrong != "room grant", room=ROOM)
    secret = "another secret of 32 bytes or more" if wrong == "key" else API_SECRET
    token = AccessToken(API_KEY, secret).with_identity("bob").with_grants(grants).to_jwt()
    async with scripted_client(server, "bob", client=CLIENT) as bob:
        with pytest.raises(ConnectError) as caught:
            async with resume(server, bob, token="x" if wrong == "no token" else token):
                raise AssertionError
        assert caught.value.status == 401
        assert bob.sid not in str(caught.value)
        assert await bob.settle() == []


@pytest.mark.rule("L4", "L5")
@pytest.mark.parametrize("last", FORGED)
async def test_a_number_that_was_never_sent_leaves_out_no_packet_of_others(
    last: int, server: RoomServer
) -> None:
    # The harm is its own: it is sent nothing of what it has not received.
    async with (
        scripted_client(server, "alice") as alice,
        scripted_client(server, "carol") as carol,
        scripted_client(server, "bob", client=CLIENT) as bob,
    ):
        for number in (1, 2):
            alice.send(numbered(number, f"alice {number}", "bob", "carol"))
        await alice.settle()
        await lose(bob)
        async with resume(server, bob, {alice.sid: last}) as again:
            assert texts(await again.settle()) == []
            # What is new arrives, as ever.
            alice.send(numbered(3, "alice 3", "bob", "carol"))
            await alice.settle()
            assert texts(await again.settle()) == ["alice 3"]
        assert texts(await carol.settle()) == ["alice 1", "alice 2", "alice 3"]


@pytest.mark.rule("L4")
async def test_receive_states_of_strangers_mean_nothing(server: RoomServer) -> None:
    async with alice_and_bob(server) as (alice, bob):
        alice.send(numbered(1, "hi", "bob"))
        await alice.settle()
        await lose(bob)
        states = {f"PA_{number:016x}": 2**32 - 1 for number in range(2_000)}
        async with resume(server, bob, {**states, "": 7, "x" * 1_000: 1}) as again:
            assert texts(await again.settle()) == ["hi"]


@pytest.mark.rule("L3", "B5")
async def test_receive_states_beyond_a_bound_are_ignored(server: RoomServer) -> None:
    async with alice_and_bob(server) as (alice, bob):
        alice.send(numbered(1, "hi", "bob"))
        await alice.settle()
        await lose(bob)
        strangers = {f"PA_{number:016x}": 1 for number in range(2_048)}
        # alice comes too late in the list, and so counts as not listed.
        async with resume(server, bob, {**strangers, alice.sid: 1}) as again:
            assert texts(await again.settle()) == ["hi"]


@pytest.mark.rule("L3")
async def test_one_publisher_listed_twice_is_no_error(server: RoomServer) -> None:
    async with alice_and_bob(server) as (alice, bob):
        for number in (1, 2):
            alice.send(numbered(number, str(number), "bob"))
        await alice.settle()
        await lose(bob)
        states = [rtc.DataChannelReceiveState(publisher_sid=alice.sid, last_seq=n) for n in (2, 1)]
        request = rtc.JoinRequest(
            client_info=CLIENT,
            reconnect=True,
            participant_sid=bob.sid,
            sync_state=rtc.SyncState(datachannel_receive_states=states),
        )
        async with server.open_link(make_token("bob"), request) as link:
            assert texts(await ScriptedClient("bob", link, bob.join).settle()) == ["2"]


@pytest.mark.rule("L6")
async def test_after_the_window_it_is_refused(server: RoomServer) -> None:
    async with alice_and_bob(server) as (alice, bob):
        await alice.settle()
        await lose(bob)
        for _ in range(3):
            assert told(await alice.settle()) == []
            await anyio.sleep(5)
        async with resume(server, bob) as again:
            await refusal_of(again)
        assert told(await alice.settle()) == [("bob", "DISCONNECTED")]


@pytest.mark.rule("L6")
async def test_after_it_was_removed_it_is_refused(server: RoomServer) -> None:
    async with alice_and_bob(server) as (_, bob):
        server.remove_participant(ROOM, "bob")
        async with resume(server, bob) as again:
            await refusal_of(again)


@pytest.mark.rule("L6")
async def test_of_many_at_the_same_time_one_wins_and_nobody_is_there_twice(
    server: RoomServer,
) -> None:
    async with (
        alice_and_bob(server) as (alice, bob),
        resume(server, bob) as first,
        resume(server, bob) as second,
        resume(server, bob) as third,
    ):
        await alice.settle()
        winners: list[ScriptedClient] = []
        for each in (bob, first, second, third):
            with suppress(LinkClosedError):
                await each.settle()
                winners.append(each)
        (winner,) = winners
        assert winner is not bob
        alice.send(numbered(1, "hi", "bob"))
        assert told(await alice.settle()) == []
        assert texts(await winner.settle()) == ["hi"]
        assert server.statistics().participants == 2


@pytest.mark.rule("L6")
async def test_a_client_that_did_not_announce_resuming_cannot(server: RoomServer) -> None:
    async with scripted_client(server, "bob") as bob, resume(server, bob) as forged:
        await refusal_of(forged)
        assert await bob.settle() == []


@pytest.mark.rule("L5", "P8")
@pytest.mark.parametrize("receipt", [b"", b"\xff" * 10, b"\x7f", b"\x80" * 9, b"\x01\x01"])
async def test_a_receipt_for_more_than_was_sent_is_malformed_and_releases_nothing(
    receipt: bytes, server: RoomServer
) -> None:
    async with alice_and_bob(server) as (alice, bob):
        alice.send(numbered(1, "hi", "bob"))
        await alice.settle()
        bob.send_frame(receipt, Channel.RECEIPT)
        await bob.settle()
        await lose(bob)
        async with resume(server, bob) as again:
            assert texts(await again.settle()) == ["hi"]


@pytest.mark.rule("L5", "P8")
async def test_a_flood_of_such_receipts_disconnects(server: RoomServer) -> None:
    async with scripted_client(server, "bob", client=CLIENT) as bob:
        for _ in range(101):
            bob.send_frame(b"\x7f", Channel.RECEIPT)
        messages, _ = await bob.receive_rest()
        assert leave_reasons(messages) == ["STATE_MISMATCH"]


@pytest.mark.rule("L5")
async def test_a_client_that_never_acknowledges_is_bounded_and_its_resume_refused() -> None:
    server = RoomServer(API_KEYS, ServerLimits(max_queue_bytes=100_000))
    async with alice_and_bob(server) as (alice, bob):
        for _ in range(50):
            for _ in range(4):
                alice.send(user("a secret".ljust(5_000), "bob"))
            await alice.settle()
            await bob.settle()
        (member,) = [
            each for each in server._rooms.get(ROOM).members.values() if each.identity == "bob"
        ]
        assert member.resumable is not None
        assert member.resumable.retained.retained_bytes <= 200_000
        await lose(bob)
        async with resume(server, bob) as again:
            assert "not retained any more" in await refusal_of(again)


@pytest.mark.rule("L3")
async def test_a_publisher_learns_no_more_than_its_own_last_number(server: RoomServer) -> None:
    async with alice_and_bob(server) as (alice, bob):
        for number in (1, 2, 2**32 - 1):
            bob.send(numbered(number, "x", "alice"))
        await bob.settle()
        await lose(bob)
        async with resume(server, bob) as again:
            answer = (await again.expect_signal("reconnect")).reconnect
            assert answer == rtc.ReconnectResponse(last_message_seq=2**32 - 1)
        await alice.settle()
