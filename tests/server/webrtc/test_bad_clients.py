"""Clients that misbehave: each is disconnected with a reason, and no other one notices."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

import anyio
import anyio.lowlevel
import pytest
from aiortc import RTCPeerConnection
from livekit.protocol import models, rtc
from websockets.exceptions import ConnectionClosed

from trio_rpc import Room, RpcInvocationData
from trio_rpc.server import RoomServer, ServerLimits
from trio_rpc.server.webrtc.peer import AnsweringPeer

from ...conftest import Join
from ...support.messages import told, user
from ...support.scripted_client import scripted_client
from ...support.serving import serving
from ...support.tokens import API_KEYS
from ...support.waiting import wait_until
from ...webrtc.descriptions import CREDENTIALS, OFFER, SESSION, data, media
from .client import VERSIONS, WebRTCClient, webrtc_client

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


@pytest.fixture
def server() -> RoomServer:
    return RoomServer(API_KEYS, ServerLimits(max_queue_bytes=400_000))


@asynccontextmanager
async def nobody_else_notices(url: str, join: Join) -> AsyncIterator[None]:
    """Check that other participants, of each kind, can call each other while the block runs."""
    room = Room()

    @room.register_rpc_method("echo")
    async def echo(data: RpcInvocationData) -> str:
        return data.payload

    async with (
        join("callee", to=url, room=room),
        join("caller", to=url) as caller,
        webrtc_client(url, "other sdk") as other,
    ):
        is_over = anyio.Event()

        async def call() -> None:
            while not is_over.is_set():
                answer = await caller.local_participant.perform_rpc(
                    destination_identity="callee", method="echo", payload="hi"
                )
                assert answer == "hi"
                await anyio.sleep(0.01)

        async with anyio.create_task_group() as task_group:
            task_group.start_soon(call)
            yield
            is_over.set()
        await caller.local_participant.publish_data(b"hi", destination_identities=["other sdk"])
        await other.wait_packets()
        assert other.asyncio.closed is None


def offered(sdp: str) -> dict[str, Any]:
    return {"offer": rtc.SessionDescription(type="offer", sdp=sdp, id=1)}


CANT: Final = "its session description can't be used"

BROKEN_OFFERS: Final = {
    "": f"{CANT}: 0 sections of data channels: 1 is wanted",
    "garbage": f"{CANT}: 0 sections of data channels: 1 is wanted",
    SESSION + media("audio", "0"): f"{CANT}: 0 sections of data channels: 1 is wanted",
    SESSION + data("0") + data("1"): f"{CANT}: 2 sections of data channels: 1 is wanted",
    SESSION + data().replace("a=mid:0\r\n", ""): f"{CANT}: a section without a=mid",
    SESSION + "m=application\r\na=mid:0": f"{CANT}: a section without a format",
    SESSION + data().replace(CREDENTIALS, ""): f"{CANT} (ValueError)",
    SESSION + data(extra="a=fingerprint:sha-256\r\n"): f"{CANT} (ValueError)",
    SESSION + data().replace("5000", "port"): f"{CANT} (ValueError)",
    SESSION + data() + media("audio", "1") * 500: f"{CANT}: 501 sections, over the limit of 500",
    OFFER + "a" * 256 * 1024: f"{CANT}: {len(OFFER) + 256 * 1024:,} bytes, over the limit "
    "of 262,144",
}


@VERSIONS
@pytest.mark.parametrize(("sdp", "why"), BROKEN_OFFERS.items(), ids=range(len(BROKEN_OFFERS)))
async def test_a_broken_offer_is_the_end_of_that_client(
    url: str, server: RoomServer, version: int, sdp: str, why: str
) -> None:
    async with scripted_client(server, "raw") as raw:
        async with webrtc_client(url, "sdk", version=version, connects=False) as client:
            await client.send_signal(**offered(sdp))
            assert await client.wait_closed() == ("JOIN_FAILURE", why[:120])
        received = []
        while ("sdk", "DISCONNECTED") not in received:
            received += told([await raw.receive()])
        assert received == [("sdk", "JOINED"), ("sdk", "DISCONNECTED")]


@pytest.mark.parametrize(
    ("version", "why"),
    [(1, "it answered an offer that was not made"), (0, f"{CANT} (ValueError)")],
)
async def test_a_broken_answer_is_the_end_of_that_client(url: str, version: int, why: str) -> None:
    async with webrtc_client(url, "sdk", version=version, connects=False) as client:
        sdp = SESSION + data().replace(CREDENTIALS, "")
        await client.send_signal(answer=rtc.SessionDescription(type="answer", sdp=sdp, id=1))
        assert await client.wait_closed() == ("JOIN_FAILURE", why)


async def test_a_flood_of_offers_is_the_end_of_that_client(url: str, join: Join) -> None:
    async with nobody_else_notices(url, join), webrtc_client(url, "sdk", connects=False) as client:
        request = rtc.SignalRequest(**offered(OFFER)).SerializeToString()
        await client.run(client.asyncio.send_signal_bytes, *[request] * 200)
        assert await client.wait_closed() == (
            "JOIN_FAILURE",
            "it sent more than 10 session descriptions at once",
        )


def candidates(count: int) -> list[bytes]:
    """Return requests with that many ICE candidates."""
    init = '{"candidate": "candidate:1 1 udp 1 192.0.2.1 %d typ host", "sdpMid": "0"}'
    trickles = [rtc.TrickleRequest(candidateInit=init % number) for number in range(count)]
    return [rtc.SignalRequest(trickle=each).SerializeToString() for each in trickles]


@pytest.mark.rule("P8")
@VERSIONS
async def test_addresses_beyond_any_number_are_the_end_of_that_client(
    url: str, server: RoomServer, version: int
) -> None:
    async with (
        scripted_client(server, "raw") as raw,
        webrtc_client(url, "sdk", version=version) as client,
    ):
        await client.run(client.asyncio.send_signal_bytes, *candidates(300))
        await client.send(user("still here", "raw"))
        assert (await raw.receive_packet()).user.payload == b"still here"
        await client.run(client.asyncio.send_signal_bytes, *candidates(5))
        reason, why = await client.wait_closed()
        assert reason == "STATE_MISMATCH"
        assert why.startswith(
            "it sent more than 100 malformed messages, the last being more than 200 addresses"
        )


@VERSIONS
async def test_ten_thousand_addresses_bother_nobody(
    url: str, join: Join, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "trio_rpc.server.session")
    async with nobody_else_notices(url, join), webrtc_client(url, "sdk", version=version) as client:
        # It is disconnected long before it has sent them all, and so may miss the reason.
        await client.run(client.asyncio.send_signal_bytes, *candidates(10_000))
        await client.wait_closed()
    [text] = [each for each in caplog.messages if "it sent more than 100 malformed" in each]
    assert text.endswith("the last being more than 200 addresses of its own (ICE candidates)")


@VERSIONS
async def test_a_client_that_never_opens_its_channel_is_disconnected(
    url: str, server: RoomServer, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_rpc.server.session._OPEN_TIMEOUT", 0.5)
    async with (
        scripted_client(server, "raw") as raw,
        webrtc_client(url, "sdk", version=version, connects=False) as client,
    ):
        raw.send(user("will never arrive", "sdk"))
        assert await client.wait_closed() == (
            "JOIN_FAILURE",
            "its data channel was not open after 0.5 s",
        )


@pytest.mark.rule("P8")
@pytest.mark.parametrize("label", ["_reliable", "_lossy"])
@pytest.mark.parametrize("body", [b"\xff" * 50, b"", "a text"], ids=["bytes", "nothing", "text"])
async def test_garbage_on_a_channel_is_dropped_and_a_flood_of_it_is_the_end(
    url: str, join: Join, server: RoomServer, label: str, body: bytes | str
) -> None:
    async with (
        nobody_else_notices(url, join),
        scripted_client(server, "raw") as raw,
        webrtc_client(url, "sdk") as client,
    ):
        await client.send_frame(body, label, times=50)
        await client.send(user("still here", "raw"))
        assert (await raw.receive_packet()).user.payload == b"still here"
        # Lossy ones may be lost.
        await client.send_frame(body, label, times=400)
        reason, why = await client.wait_closed()
        assert reason == "STATE_MISMATCH"
        assert why.startswith("it sent more than 100 malformed messages, the last being ")


@pytest.mark.parametrize("count", [14, 15])
async def test_too_many_channels_are_the_end_of_that_client(url: str, count: int) -> None:
    async with webrtc_client(url, "sdk") as client:
        for number in range(count):
            await client.run(client.asyncio.add_channel, f"channel {number}")
        if count == 15:
            reason = "it opened more than 16 data channels"
            assert (await client.wait_closed())[1] == reason
        else:
            labels = list(client.asyncio.channels.values())
            await client.run(
                client.asyncio.wait_for, lambda: all(each.readyState == "open" for each in labels)
            )
            assert client.asyncio.closed is None


@VERSIONS
async def test_a_peer_connection_that_ends_is_the_end_of_that_client(
    url: str, join: Join, server: RoomServer, version: int
) -> None:
    async with (
        nobody_else_notices(url, join),
        webrtc_client(url, "sdk", version=version) as client,
    ):
        await client.wait_response("update", where=lambda update: _is_active(update, "sdk"))
        connection = client.asyncio.subscriber if version == 0 else client.asyncio.publisher
        assert connection is not None
        await client.run(connection.close)
        reason, why = await client.wait_closed()
        assert reason == "CONNECTION_TIMEOUT"
        assert why in {
            "its peer connection is closed",
            "it closed its reliable data channel",
        }


async def test_a_client_that_sends_faster_than_the_room_takes_is_slowed(
    url: str, join: Join, server: RoomServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = 100_000
    monkeypatch.setattr("trio_rpc.webrtc.peer._RECEIVE_WINDOW_BYTES", window)
    monkeypatch.setattr("trio_rpc.links.memory._BUFFERED_MESSAGES", 1)
    chunks = [
        models.DataPacket(
            destination_identities=["slow"],
            stream_chunk=models.DataStream.Chunk(
                stream_id="1", chunk_index=index, content=b"x" * 15_000
            ),
        )
        for index in range(60)
    ]
    # aiortc sends on, ignoring the window; LiveKit's SDKs go on a little.
    async with (
        nobody_else_notices(url, join),
        scripted_client(server, "slow") as slow,
        webrtc_client(url, "sdk") as client,
    ):
        for chunk in chunks:
            await client.send(chunk)
        peers = [each for each in gc.get_objects() if type(each) is AnsweringPeer]
        await wait_until(lambda: max(each._unread for each in peers) >= window)
        # More than the window where one chunk completed what had come before it.
        assert max(each._unread for each in peers) < 5 * window
        received = [await slow.receive_packet() for _ in chunks]
        assert [packet.stream_chunk.chunk_index for packet in received] == [*range(60)]
        assert client.asyncio.closed is None


@pytest.mark.rule("V8", "B8")
@VERSIONS
async def test_a_client_that_reads_nothing_is_disconnected_and_its_senders_go_on(
    join: Join, version: int
) -> None:
    limits = ServerLimits(max_queue_bytes=400_000, read_timeout=3)
    server = RoomServer(API_KEYS, limits)
    async with (
        serving(server) as url,
        join("caller", to=url) as caller,
        webrtc_client(url, "sdk", version=version) as client,
        anyio.create_task_group() as task_group,
    ):
        await client.wait_response("update", where=lambda update: _is_active(update, "sdk"))
        # It goes on saying that it lives.
        task_group.start_soon(_ping, client)
        await client.run(_take_nothing, client.asyncio.subscriber or client.asyncio.publisher)
        while "sdk" in caller.remote_participants:
            await caller.local_participant.publish_data(
                b"x" * 50_000, destination_identities=["sdk"]
            )
            await anyio.lowlevel.checkpoint()
        reason, why = await client.wait_closed()
        assert (reason, why) == ("STATE_MISMATCH", "it does not read: it took nothing for 3 s")
        assert caller.isconnected()
        task_group.cancel_scope.cancel()


async def _take_nothing(connection: RTCPeerConnection) -> None:
    async def ignore(chunk: object) -> None: ...

    assert connection.sctp is not None
    connection.sctp._receive_data_chunk = ignore  # type: ignore[method-assign]


async def _ping(client: WebRTCClient) -> None:
    # The server may let it go while it says so.
    with suppress(ConnectionClosed):
        while client.asyncio.closed is None:
            await client.run(partial(client.asyncio.send_signal, ping_req=rtc.Ping(timestamp=1)))
            await anyio.sleep(0.3)


def _is_active(update: rtc.ParticipantUpdate, identity: str) -> bool:
    return any(
        each.identity == identity and each.state == models.ParticipantInfo.ACTIVE
        for each in update.participants
    )
