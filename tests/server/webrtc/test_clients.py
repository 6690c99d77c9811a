"""Clients of LiveKit's protocol in a room, with real peer connections."""

from __future__ import annotations

from typing import Any

import pytest
import wsproto.events
from livekit.protocol import models, rtc

from trio_rpc import DisconnectReason
from trio_rpc.links import Channel
from trio_rpc.server import RoomServer
from trio_rpc.tokens import verify_token

from ...support.messages import packets, told, updates, user
from ...support.raw_sockets import connect_websocket
from ...support.scripted_client import ScriptedClient
from ...support.tokens import API_KEYS, make_token
from ...support.waiting import wait_until
from ...webrtc.descriptions import media
from .client import VERSIONS, WebRTCClient, join_request, webrtc_client

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


async def receive_packets(raw: ScriptedClient, count: int) -> list[models.DataPacket]:
    """Receive the next packets."""
    received: list[models.DataPacket] = []
    while len(received) < count:
        received += packets([await raw.receive()])
    return received


async def send_numbered(raw: ScriptedClient) -> None:
    """Send the participant "sdk" 40 packets, which are numbered and large."""
    for number in range(40):
        raw.send(user(f"{number} ".ljust(5_000, "x"), "sdk"))
    await raw.settle()


async def expect_numbered(client: WebRTCClient) -> None:
    """Wait for the packets of `send_numbered`, which must be there in order."""
    received = await client.wait_packets(40)
    assert [int(packet.user.payload.split()[0]) for _, packet in received] == [*range(40)]


async def wait_told(raw: ScriptedClient, *states: str) -> None:
    """Wait until a participant has got these states of the client, one after another."""
    received: list[tuple[str, str]] = []
    while len(received) < len(states):
        received += [each for each in told([await raw.receive()]) if each[0] == "sdk"]
    assert received == [("sdk", state) for state in states]


@pytest.mark.rule("V6")
@VERSIONS
async def test_a_client_is_joined_then_active_then_gone(
    url: str, raw: ScriptedClient, version: int
) -> None:
    async with webrtc_client(url, "sdk", version=version) as client:
        join = await client.wait_response("join")
        assert join.participant.state == models.ParticipantInfo.JOINED
        assert (join.subscriber_primary, join.fast_publish) == (version == 0, True)
        assert [each.identity for each in join.other_participants] == ["raw"]
        await wait_told(raw, "JOINED", "ACTIVE")
        update = await client.wait_response("update")
        assert [(each.identity, each.state) for each in update.participants] == [
            ("sdk", models.ParticipantInfo.ACTIVE)
        ]
    await wait_told(raw, "DISCONNECTED")


@pytest.mark.rule("V2", "P5")
@VERSIONS
@pytest.mark.parametrize(
    ("label", "kind"),
    [("_reliable", models.DataPacket.RELIABLE), ("_lossy", models.DataPacket.LOSSY)],
)
async def test_packets_go_both_ways_on_both_channels(
    url: str, raw: ScriptedClient, version: int, label: str, kind: models.DataPacket.Kind
) -> None:
    channel = Channel.RELIABLE if label == "_reliable" else Channel.LOSSY
    async with webrtc_client(url, "sdk", version=version) as client:
        join = await client.wait_response("join")
        await wait_told(raw, "JOINED", "ACTIVE")
        packet = user("to raw", "raw")
        packet.participant_identity = "somebody else"
        await client.send(packet, label)
        [received] = await receive_packets(raw, 1)
        assert received.user.payload == b"to raw"
        assert received.participant_identity == "sdk"
        assert received.participant_sid == join.participant.sid

        def has_received() -> bool:
            # A lossy packet may be lost where no channel is open yet.
            raw.send(user("to sdk", "sdk"), channel)
            return bool(client.asyncio.packets)

        await wait_until(has_received)
        [(heard_on, heard_packet), *_] = client.asyncio.packets
        assert heard_on == label
        assert heard_packet.participant_identity == "raw"
        assert heard_packet.user.payload == b"to sdk"


@pytest.mark.rule("V2")
@VERSIONS
async def test_packets_keep_their_order_and_content(
    url: str, raw: ScriptedClient, version: int
) -> None:
    texts = [f"{number} ".ljust(size, "x") for number, size in enumerate([1, 1000, 60_000] * 10)]
    async with webrtc_client(url, "sdk", version=version) as client:
        for text in texts:
            raw.send(user(text, "sdk"))
            await client.send(user(text, "raw"))
        assert [
            each.user.payload.decode() for each in await receive_packets(raw, len(texts))
        ] == texts
        received = await client.wait_packets(len(texts))
        assert [packet.user.payload.decode() for _, packet in received] == texts


@pytest.mark.rule("V6")
@VERSIONS
async def test_reliable_packets_wait_for_the_channel(
    url: str, raw: ScriptedClient, version: int
) -> None:
    async with webrtc_client(url, "sdk", version=version, connects=False) as client:
        await wait_told(raw, "JOINED")
        for number in range(100):
            raw.send(user(f"{number}", "sdk"))
        await raw.settle()
        await client.run(client.asyncio.offer)
        received = await client.wait_packets(100)
        assert [int(packet.user.payload) for _, packet in received] == [*range(100)]


@pytest.mark.rule("V5")
@VERSIONS
async def test_a_second_client_replaces_the_first(
    url: str, raw: ScriptedClient, version: int
) -> None:
    async with webrtc_client(url, "sdk", version=version) as first:
        await wait_told(raw, "JOINED", "ACTIVE")
        async with webrtc_client(url, "sdk", version=version) as second:
            assert await first.wait_closed() == (
                "DUPLICATE_IDENTITY",
                "another participant joined as 'sdk'",
            )
            await wait_told(raw, "DISCONNECTED", "JOINED", "ACTIVE")
            raw.send(user("hi", "sdk"))
            await second.wait_packets()


@VERSIONS
async def test_a_client_that_leaves_is_removed_at_once(
    url: str, raw: ScriptedClient, version: int
) -> None:
    async with webrtc_client(url, "sdk", version=version) as client:
        await wait_told(raw, "JOINED", "ACTIVE")
        await client.send_signal(leave=rtc.LeaveRequest())
        await wait_told(raw, "DISCONNECTED")
        await client.wait_closed()


@VERSIONS
async def test_a_server_that_shuts_down_sends_the_reason(
    url: str, server: RoomServer, raw: ScriptedClient, version: int
) -> None:
    async with webrtc_client(url, "sdk", version=version) as client:
        await wait_told(raw, "JOINED", "ACTIVE")
        await server.shut_down()
        assert await client.wait_closed() == ("SERVER_SHUTDOWN", "the server shuts down")


@VERSIONS
async def test_everything_sent_before_the_leave_arrives(
    url: str, server: RoomServer, raw: ScriptedClient, version: int
) -> None:
    async with webrtc_client(url, "sdk", version=version) as client:
        await wait_told(raw, "JOINED", "ACTIVE")
        await send_numbered(raw)
        server.remove_participant("the room", "sdk")
        reason, _ = await client.wait_closed()
        assert reason == DisconnectReason.PARTICIPANT_REMOVED.name
        await expect_numbered(client)


@VERSIONS
@pytest.mark.rule("L10")
async def test_a_server_that_is_drained_asks_it_to_join_again_after_everything_else(
    url: str, server: RoomServer, raw: ScriptedClient, version: int
) -> None:
    async with webrtc_client(url, "sdk", version=version) as client:
        await wait_told(raw, "JOINED", "ACTIVE")
        await send_numbered(raw)
        await server.drain()
        assert await client.wait_closed() == ("SERVER_SHUTDOWN", "the server shuts down")
        (leave,) = [each.leave for each in client.asyncio.responses if each.HasField("leave")]
        assert (leave.action, leave.can_reconnect) == (rtc.LeaveRequest.RECONNECT, True)
        await expect_numbered(client)


@VERSIONS
@pytest.mark.rule("L11")
async def test_what_it_has_changed_is_in_its_token_and_outlasts_a_rejoin(
    url: str, server: RoomServer, version: int
) -> None:
    async with webrtc_client(url, "sdk", version=version, can_update_own_metadata=True) as client:
        change = rtc.UpdateParticipantMetadata(name="New", metadata="m", attributes={"a": "1"})
        await client.send_signal(update_metadata=change)
        tokens: list[str] = []

        def is_refreshed() -> bool:
            responses = client.asyncio.responses
            tokens[:] = [each.refresh_token for each in responses if each.refresh_token]
            return any(verify_token(each, API_KEYS).name == "New" for each in tokens)

        await client.run(client.asyncio.wait_for, is_refreshed)
        async with webrtc_client(url, "sdk", version=version, token=tokens[-1]):
            info = server.get_participant("the room", "sdk")
            assert (info.name, info.metadata) == ("New", "m")
            assert dict(info.attributes) == {"a": "1"}
            assert info.permission.can_update_metadata


# Signalling


@pytest.mark.parametrize(
    "target",
    ["/rtc?reconnect=1", f"/rtc/v1?join_request={join_request(reconnect=True)}"],
    ids=["v0", "v1"],
)
async def test_a_client_that_wants_to_resume_is_told_to_join_again(url: str, target: str) -> None:
    async with connect_websocket(
        url, make_token("sdk"), target=target, subprotocols=[]
    ) as websocket:
        message = await websocket.receive()
        assert isinstance(message, wsproto.events.BytesMessage)
        leave = rtc.SignalResponse.FromString(bytes(message.data)).leave
        assert (leave.action, leave.can_reconnect) == (rtc.LeaveRequest.RECONNECT, True)
        assert await websocket.receive_close() == (1000, "join again")


@VERSIONS
async def test_pings_of_both_kinds_are_answered(url: str, version: int) -> None:
    async with webrtc_client(url, "sdk", version=version) as client:
        await client.send_signal(ping=1)
        assert await client.wait_response("pong") > 0
        await client.send_signal(ping_req=rtc.Ping(timestamp=7))
        assert (await client.wait_response("pong_resp")).last_ping_timestamp == 7


@pytest.mark.parametrize(
    ("request_", "echoed", "reason", "message"),
    [
        (
            {"add_track": rtc.AddTrackRequest(cid="camera")},
            "add_track",
            rtc.RequestResponse.UNSUPPORTED_TYPE,
            "this server carries data and no media",
        ),
        (
            {"publish_data_track_request": rtc.PublishDataTrackRequest(name="positions")},
            "publish_data_track",
            rtc.RequestResponse.NOT_ALLOWED,
            "this server has no data tracks, only data streams and packets",
        ),
    ],
    ids=["media", "data track"],
)
@pytest.mark.rule("M5")
async def test_tracks_are_refused_and_data_goes_on(
    url: str,
    raw: ScriptedClient,
    request_: dict[str, Any],
    echoed: str,
    reason: rtc.RequestResponse.Reason,
    message: str,
) -> None:
    async with webrtc_client(url, "sdk") as client:
        await client.send_signal(**request_)
        response = await client.wait_response("request_response")
        assert (response.reason, response.message) == (reason, message)
        assert getattr(response, echoed) == next(iter(request_.values()))
        await client.send(user("goes on", "raw"))
        [packet] = await receive_packets(raw, 1)
        assert packet.user.payload == b"goes on"


@pytest.mark.rule("V7")
async def test_a_change_is_echoed_and_answered(url: str, raw: ScriptedClient) -> None:
    async with webrtc_client(url, "sdk", can_update_own_metadata=True) as client:
        change = rtc.UpdateParticipantMetadata(
            request_id=5, name="the sdk", metadata="new", attributes={"a": "1"}
        )
        await client.send_signal(update_metadata=change)
        echoed = await client.wait_response(
            "update", where=lambda update: update.participants[0].metadata == "new"
        )
        assert echoed.participants[0].identity == "sdk"
        response = await client.wait_response("request_response")
        assert (response.request_id, response.reason) == (5, rtc.RequestResponse.OK)
        while (info := updates([await raw.receive()])) == [] or info[0].metadata != "new":
            pass
        assert (info[0].name, dict(info[0].attributes)) == ("the sdk", {"a": "1"})


@pytest.mark.rule("M5")
async def test_media_are_accepted_as_inactive(url: str, raw: ScriptedClient) -> None:
    async with webrtc_client(url, "sdk", connects=False) as client:
        head, data = (await client.run(client.asyncio.new_offer)).split("m=application")
        audio, video = (media(kind, f"{kind}0", "recvonly") for kind in ("audio", "video"))
        sdp = f"{head}{audio}m=application{data}{video}"
        await client.send_signal(offer=rtc.SessionDescription(type="offer", sdp=sdp, id=1))
        await wait_told(raw, "JOINED", "ACTIVE")
        answer = (await client.wait_response("answer")).sdp
        kinds = [each.partition(" ")[0] for each in answer.split("m=")[1:]]
        assert kinds == ["audio", "application", "video"]
        assert answer.count("a=inactive") == 2
        raw.send(user("hi", "sdk"))
        await client.wait_packets()


@VERSIONS
async def test_a_client_may_offer_again(url: str, raw: ScriptedClient, version: int) -> None:
    async with webrtc_client(url, "sdk", version=version) as client:
        await wait_told(raw, "JOINED", "ACTIVE")
        for number in (7, 8):
            await client.run(client.asyncio.offer, number)
            assert (await client.wait_response("answer", number - 5)).id == number
        await client.send(user("still here", "raw"))
        [packet] = await receive_packets(raw, 1)
        assert packet.user.payload == b"still here"
