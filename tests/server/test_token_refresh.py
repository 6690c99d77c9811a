"""The server sends participants tokens for their next connections (rule L11)."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc import ConnectError, ParticipantPermissions
from trio_rpc.errors import QueueFullError
from trio_rpc.protocol.capabilities import CAN_RESUME
from trio_rpc.server import RoomServer, ServerLimits
from trio_rpc.tokens import AccessToken, Claims, VideoGrants, inspect_token, verify_token

from ..support.scripted_client import ScriptedClient, scripted_client
from ..support.tokens import API_KEY, API_KEYS, API_SECRET, ROOM

pytestmark = pytest.mark.anyio

CLIENT = models.ClientInfo(client_protocol=2, capabilities=[CAN_RESUME])  # type: ignore[list-item]


async def texts_of_tokens(member: ScriptedClient) -> list[str]:
    """Return the tokens that have come since the last look."""
    # A token comes after the responses to what has led to it.
    for _ in range(2):
        await member.settle()
    tokens, member.tokens = member.tokens, []
    return tokens


async def tokens_of(member: ScriptedClient) -> list[Claims]:
    """Return the claims of the tokens that have come since the last look."""
    return [verify_token(token, API_KEYS) for token in await texts_of_tokens(member)]


@pytest.fixture
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of tokens, in a list of one."""
    now = [1_000_000_000.0]
    monkeypatch.setattr("trio_rpc.tokens.time.time", lambda: now[0])
    return now


@pytest.mark.rule("L11")
async def test_a_token_comes_on_joining_and_every_five_minutes(server: RoomServer) -> None:
    async with scripted_client(server, "alice") as alice:
        (first,) = await tokens_of(alice)
        assert (first.identity, first.grants.room, first.grants.room_join) == ("alice", ROOM, True)
        came_after: list[float] = []
        start = anyio.current_time()
        while anyio.current_time() < start + 1_510:
            came_after += [anyio.current_time() - start for _ in await tokens_of(alice)]
            await anyio.sleep(5)
        assert came_after == pytest.approx([300, 600, 900, 1_200, 1_500], abs=10)


@pytest.mark.rule("L11")
async def test_it_lives_ten_minutes_and_is_signed_with_the_same_key(
    wall_clock: list[float],
) -> None:
    server = RoomServer({"other": "o" * 32, API_KEY: API_SECRET, "third": "t" * 32})
    async with scripted_client(server, "alice") as alice:
        (token,) = await texts_of_tokens(alice)
        claims = inspect_token(token)
        assert claims["iss"] == API_KEY
        assert (claims["nbf"], claims["exp"]) == (wall_clock[0], wall_clock[0] + 600)


@pytest.mark.rule("L11")
async def test_it_has_the_same_grants_and_kind_and_description(server: RoomServer) -> None:
    grants = VideoGrants(
        room_join=True,
        room=ROOM,
        room_admin=True,
        can_publish=False,
        can_publish_data=True,
        can_publish_sources=("camera",),
        can_update_own_metadata=True,
        hidden=True,
        agent=True,
    )
    token = (
        AccessToken(API_KEY, API_SECRET)
        .with_identity("alice")
        .with_name("Alice")
        .with_metadata("m")
        .with_attributes({"a": "1"})
        .with_kind("agent")
        .with_grants(grants)
        .to_jwt()
    )
    async with server.open_link(token, rtc.JoinRequest()) as link:
        alice = ScriptedClient("alice", link, rtc.JoinResponse())
        (claims,) = await tokens_of(alice)
    own = verify_token(token, API_KEYS)
    assert claims.grants == own.grants
    assert (claims.name, claims.metadata, claims.kind) == ("Alice", "m", "agent")
    assert claims.attributes == {"a": "1"}


@pytest.mark.rule("L11", "V7")
async def test_it_has_what_was_changed_by_the_participant_or_an_administrator(
    server: RoomServer,
) -> None:
    async with scripted_client(server, "alice", can_update_own_metadata=True) as alice:
        await tokens_of(alice)
        update = rtc.UpdateParticipantMetadata(name="Alice", metadata="m", attributes={"a": "1"})
        alice.send_signal(update_metadata=update)
        (claims,) = await tokens_of(alice)
        assert (claims.name, claims.metadata, claims.attributes) == ("Alice", "m", {"a": "1"})
        permissions = ParticipantPermissions(can_publish_data=False, can_update_metadata=True)
        server.update_participant(ROOM, "alice", permissions=permissions)
        (claims,) = await tokens_of(alice)
        assert claims.grants.can_publish_data is False
        assert claims.metadata == "m"


@pytest.mark.rule("L11")
async def test_whoever_changes_all_the_time_gets_no_token_for_each(server: RoomServer) -> None:
    async with scripted_client(server, "alice", can_update_own_metadata=True) as alice:
        await tokens_of(alice)
        for number in range(100):
            update = rtc.UpdateParticipantMetadata(name=str(number))
            alice.send_signal(update_metadata=update)
            await alice.settle()
        assert len(await tokens_of(alice)) == 10
        await anyio.sleep(5)
        (claims,) = await tokens_of(alice)
        assert claims.name == "99"


@pytest.mark.rule("L11")
async def test_a_description_that_is_too_long_for_a_token_is_that_of_the_first_token(
    server: RoomServer,
) -> None:
    async with scripted_client(server, "alice", can_update_own_metadata=True) as alice:
        await tokens_of(alice)
        update = rtc.UpdateParticipantMetadata(name="Alice", metadata="m" * 20_000)
        alice.send_signal(update_metadata=update)
        (claims,) = await tokens_of(alice)
        assert (claims.name, claims.metadata) == ("", "")


@pytest.mark.rule("L11", "V8")
async def test_a_token_waits_until_there_is_room_in_the_queue() -> None:
    server = RoomServer(API_KEYS, ServerLimits(max_queue_bytes=50_000, read_timeout=1_000))
    async with scripted_client(server, "alice") as alice, anyio.create_task_group() as task_group:
        await tokens_of(alice)
        task_group.start_soon(alice.keep_alive)
        with suppress(QueueFullError):
            while True:
                server.send_data(ROOM, b"x" * 1_000)
                await anyio.wait_all_tasks_blocked()
        await anyio.sleep(310)
        assert await tokens_of(alice) == []
        await anyio.sleep(5)
        assert len(await tokens_of(alice)) == 1
        await alice.link.aclose()


@pytest.mark.rule("L11", "L3")
async def test_a_participant_that_resumes_gets_another_one(
    server: RoomServer, wall_clock: list[float]
) -> None:
    async with scripted_client(server, "bob", client=CLIENT) as bob:
        (token,) = await texts_of_tokens(bob)
        await bob.link.aclose()
        again = rtc.JoinRequest(client_info=CLIENT, reconnect=True, participant_sid=bob.sid)
        wall_clock[0] += 400
        async with server.open_link(token, again) as link:
            resumed = ScriptedClient("bob", link, bob.join)
            assert (await resumed.expect_signal()).HasField("reconnect")
            (claims,) = await tokens_of(resumed)
            assert claims.expires_at == wall_clock[0] + 600


@pytest.mark.rule("L11", "V1")
async def test_an_expired_token_resumes_nothing_and_a_session_outlives_its_token(
    server: RoomServer, wall_clock: list[float]
) -> None:
    async with scripted_client(server, "bob", client=CLIENT) as bob:
        (token,) = await texts_of_tokens(bob)
        wall_clock[0] += timedelta(days=1).total_seconds()
        assert await bob.settle() == []
        again = rtc.JoinRequest(client_info=CLIENT, reconnect=True, participant_sid=bob.sid)
        with pytest.raises(ConnectError, match="the token has expired") as caught:
            async with server.open_link(token, again):
                raise AssertionError
        assert caught.value.status == 401
        assert await bob.settle() == []
