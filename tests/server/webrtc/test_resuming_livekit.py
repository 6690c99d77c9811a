"""Clients of LiveKit's SDKs that lose their WebSocket, and come back over another one."""

from __future__ import annotations

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc.server import RoomServer
from trio_rpc.tokens import verify_token

from ...support.messages import told, updates, user
from ...support.scripted_client import ScriptedClient, scripted_client
from ...support.tokens import API_KEYS, make_token
from .client import VERSIONS, WebRTCClient, webrtc_client

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


async def wait_active(raw: ScriptedClient) -> None:
    while ("sdk", "ACTIVE") not in told([await raw.receive()]):
        pass


async def expect_both_ways(client: WebRTCClient, raw: ScriptedClient, text: str) -> None:
    """Exchange a packet in both directions."""
    await client.send(user(f"{text} to raw", "raw"))
    assert (await raw.receive_packet()).user.payload == f"{text} to raw".encode()
    raw.send(user(f"{text} to sdk", "sdk"))
    await raw.settle()
    await client.run(
        client.asyncio.wait_for,
        lambda: any(
            packet.user.payload == f"{text} to sdk".encode() for _, packet in client.asyncio.packets
        ),
    )


@pytest.mark.rule("V9", "L3")
@VERSIONS
async def test_a_client_without_its_websocket_stays_and_comes_back(
    url: str, server: RoomServer, raw: ScriptedClient, version: int
) -> None:
    async with webrtc_client(url, "sdk", version=version) as client:
        await wait_active(raw)
        sid = server.get_participant("the room", "sdk").sid
        await client.run(client.asyncio.lose_websocket)
        await expect_both_ways(client, raw, "without it")
        packet = user("numbered", "raw")
        packet.sequence = 7
        await client.send(packet)
        assert (await raw.receive_packet()).sequence == 7
        async with scripted_client(server, "came and went"):
            pass
        async with scripted_client(server, "came"):
            await client.run(client.asyncio.resume)
            response = await client.wait_response("reconnect")
            assert response.last_message_seq == 7
            update = await client.wait_response(
                "update", where=lambda update: len(update.participants) == 4
            )
            states = {each.identity: each.state for each in update.participants}
            info = models.ParticipantInfo
            assert states == {
                "sdk": info.ACTIVE,
                "raw": info.ACTIVE,
                "came": info.ACTIVE,
                "came and went": info.DISCONNECTED,
            }
            assert (await client.wait_response("room_update")).room.name == "the room"
            token = await client.wait_response("refresh_token", 2)
            assert verify_token(token, API_KEYS).identity == "sdk"
        assert server.get_participant("the room", "sdk").sid == sid
        assert [each for each in updates(await raw.settle()) if each.identity == "sdk"] == []
        await client.send_signal(ping_req=rtc.Ping(timestamp=7))
        assert (await client.wait_response("pong_resp")).last_ping_timestamp == 7
        await expect_both_ways(client, raw, "again")


@pytest.mark.rule("L3")
@VERSIONS
async def test_ice_is_restarted_when_the_client_asks_for_it(
    url: str, raw: ScriptedClient, version: int
) -> None:
    async with webrtc_client(url, "sdk", version=version) as client:
        await wait_active(raw)
        for number in (2, 3):
            before = await client.run(client.asyncio.restart_ice, number)
            after = (await client.wait_response("answer", number)).sdp
            assert credentials(after) != credentials(before)
            nominated = client.asyncio.nominated()
            await client.run(client.asyncio.check_again, after)
            assert client.asyncio.nominated() is not nominated
            await expect_both_ways(client, raw, f"after restart {number}")


def credentials(sdp: str) -> set[str]:
    lines = sdp.splitlines()
    return {line for line in lines if line.startswith(("a=ice-ufrag:", "a=ice-pwd:"))}


@pytest.mark.rule("L3")
async def test_a_second_websocket_takes_the_place_of_the_first(
    url: str, raw: ScriptedClient
) -> None:
    async with webrtc_client(url, "sdk") as client:
        await wait_active(raw)
        await client.run(client.asyncio.resume)
        await client.wait_response("reconnect")
        await client.run(
            client.asyncio.wait_for,
            lambda: client.asyncio.closed == (1000, "another WebSocket has taken its place"),
        )
        await client.send_signal(ping_req=rtc.Ping(timestamp=7))
        assert (await client.wait_response("pong_resp")).last_ping_timestamp == 7
        await expect_both_ways(client, raw, "still")


@pytest.mark.rule("L3")
@pytest.mark.parametrize("whose", ["another", "gone"])
async def test_nobody_else_resumes_a_session(
    url: str, server: RoomServer, raw: ScriptedClient, whose: str
) -> None:
    async with webrtc_client(url, "sdk") as client:
        await wait_active(raw)
        token = make_token("mallory") if whose == "another" else make_token("sdk")
        if whose == "gone":
            server.remove_participant("the room", "sdk")
            await client.wait_closed()
        await client.run(client.asyncio.resume, token)
        leave = await client.wait_response("leave", 2 if whose == "gone" else 1)
        assert leave.action == rtc.LeaveRequest.RECONNECT
        assert leave.reason == models.STATE_MISMATCH


async def test_a_websocket_that_is_lost_before_the_channels_are_open_ends_the_session(
    url: str, raw: ScriptedClient
) -> None:
    async with webrtc_client(url, "sdk", connects=False) as client:
        await client.run(client.asyncio.lose_websocket)
        received: list[tuple[str, str]] = []
        while len(received) < 2:
            received += told([await raw.receive()])
        assert received == [("sdk", "JOINED"), ("sdk", "DISCONNECTED")]


@pytest.mark.rule("V9")
async def test_a_client_that_ends_its_connection_without_a_websocket_has_left(
    url: str, raw: ScriptedClient
) -> None:
    async with webrtc_client(url, "sdk") as client:
        await wait_active(raw)
        await client.run(client.asyncio.lose_websocket)
        await client.run(client.asyncio.publisher.close)
        with anyio.fail_after(60):
            while told([await raw.receive()]) != [("sdk", "DISCONNECTED")]:
                pass
