"""The routing of packets by a server in memory, as by a livekit-server."""

from __future__ import annotations

import logging

import anyio
import pytest
from attrs import evolve
from livekit.protocol import metrics, models, rtc

from trio_rpc.links import Channel
from trio_rpc.testing import LiveKitLikeServer

from ..support.livekit_like import packets_until, scripted, unopened, user

pytestmark = pytest.mark.anyio

State = models.ParticipantInfo


@pytest.fixture
def server() -> LiveKitLikeServer:
    return LiveKitLikeServer()


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


@pytest.mark.parametrize("destinations", [(), ("bob",)], ids=["to everybody", "directed"])
async def test_any_number_of_streams_may_begin(
    server: LiveKitLikeServer, destinations: tuple[str, ...]
) -> None:
    async with scripted(server, "alice") as alice, scripted(server, "bob") as bob:
        for number in range(1_100):
            header = models.DataStream.Header(stream_id=str(number), topic="news")
            alice.send_to(*destinations, stream_header=header)
            # As a Rust SDK ends a directed stream
            alice.send_to(stream_trailer=models.DataStream.Trailer(stream_id=str(number)))
        packets = [await bob.receive_packet() for _ in range(2_200)]
    begun = [each.stream_header.stream_id for each in packets if each.HasField("stream_header")]
    assert begun == [str(number) for number in range(1_100)]
    ended = [each.stream_trailer.stream_id for each in packets if each.HasField("stream_trailer")]
    assert ended == begun


async def test_one_whose_queue_cannot_take_what_was_kept_is_disconnected() -> None:
    server = LiveKitLikeServer(evolve(LiveKitLikeServer.default_limits, max_queue_bytes=40_000))
    async with (
        scripted(server, "alice") as alice,
        scripted(server, "bob", unopened(server, "bob")) as bob,
    ):
        for number in range(1, 13):
            alice.send(models.DataPacket(sequence=number, user=user(bytes(8_000))))
        messages, _ = await bob.receive_rest()
        assert isinstance(messages[-1], rtc.SignalResponse)
        assert messages[-1].leave.reason == models.STATE_MISMATCH
        await alice.settle()
        assert server.statistics().participants == 1
