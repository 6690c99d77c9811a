"""Clients that a listener of stream links refuses or disconnects, for what they send or do not."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Final

import anyio
import pytest
from livekit.protocol import rtc

from trio_rpc import ConnectError, Room
from trio_rpc.links import Channel, Frame
from trio_rpc.links.frames import decode_frames
from trio_rpc.links.records import (
    MAX_HELLO_BYTES,
    PREAMBLE,
    RecordKind,
    encode_record,
)
from trio_rpc.server import RoomServer, ServerLimits, ServerStatistics

from ..conftest import Join
from ..support.callers import two_callers
from ..support.messages import user
from ..support.raw_sockets import connect_stream_link, hello
from ..support.serving import serving_stream
from ..support.tokens import API_KEYS, ROOM, make_token
from .stream_links import greet, message, ping, refusal

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


FOUR_GIGABYTES: Final = b"\x03\xff\xff\xff\xff"


HELLO_TOO_LARGE: Final = MAX_HELLO_BYTES + 1


@pytest.mark.rule("P8", "V1")
@pytest.mark.parametrize(
    ("data", "answer"),
    [
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: test\r\n\r\n",
            "400 this port takes stream links (tcp://), not HTTP",
            id="HTTP",
        ),
        pytest.param(
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            "400 this port takes stream links (tcp://), not TLS",
            id="TLS",
        ),
        pytest.param(
            b"trio-rpc.v9\n",
            "400 this port takes stream links (tcp://), not another version of trio-rpc",
            id="another version",
        ),
        pytest.param(
            b"\0\xff\r\n\r\n",
            "400 this port takes stream links (tcp://), not another protocol",
            id="garbage",
        ),
        pytest.param(b"", "400 the connection was lost", id="nothing"),
        pytest.param(PREAMBLE[:-1], "400 the connection was lost", id="half a preamble"),
        pytest.param(PREAMBLE, "400 the connection was lost", id="preamble alone"),
        pytest.param(hello("a.b.c")[:-1], "400 the connection was lost", id="cut short"),
        pytest.param(
            PREAMBLE + b"\x01\xff\xff\xff\xff",
            "400 a record of 4,294,967,295 bytes, over the limit of 65,536",
            id="4 GB",
        ),
        pytest.param(
            PREAMBLE + encode_record(RecordKind.HELLO, bytes(HELLO_TOO_LARGE)),
            "400 a record of 65,537 bytes, over the limit of 65,536",
            id="large hello",
        ),
        pytest.param(
            PREAMBLE + b"\x07\0\0\0\0", "400 a record of unknown kind 7", id="unknown kind"
        ),
        pytest.param(
            PREAMBLE + message(ping(1)), "400 it began with MESSAGE in place of HELLO", id="message"
        ),
        pytest.param(
            PREAMBLE + encode_record(RecordKind.HELLO, make_token("bob").encode() + b"\n\xff"),
            "400 its HELLO holds no JoinRequest",
            id="no JoinRequest",
        ),
        pytest.param(
            PREAMBLE + encode_record(RecordKind.HELLO, b""),
            "401 the token is not a JWT",
            id="empty hello",
        ),
        pytest.param(
            PREAMBLE + encode_record(RecordKind.HELLO, b"\xff\n"),
            "401 the token is not a JWT",
            id="binary token",
        ),
        pytest.param(hello("a.b.c"), "401 the token is not a JWT", id="no token"),
    ],
)
async def test_whatever_comes_before_a_hello_is_answered_and_harms_nobody_else(
    server: RoomServer, join: Join, data: bytes, answer: str
) -> None:
    async with serving_stream(server) as url:
        assert await refusal(url, data) == answer
        await greet(url)
    assert server.statistics() == ServerStatistics(rooms=0, participants=0)


@pytest.mark.rule("V1")
async def test_our_client_reports_why_its_token_was_refused(server: RoomServer) -> None:
    async with serving_stream(server) as url:
        with pytest.raises(ConnectError) as caught:
            async with Room().connect(url, "a.b.c"):
                raise AssertionError("joined")
    assert str(caught.value) == f"{url} refused with 401: the token is not a JWT"
    assert caught.value.status == 401


async def test_a_room_that_is_full_refuses_with_429(join: Join) -> None:
    server = RoomServer(API_KEYS, ServerLimits(max_participants_per_room=1))
    async with serving_stream(server) as url, join("alice", to=url):
        text = f"429 room {ROOM!r} has 1 participants, which is its limit"
        assert await refusal(url, hello(make_token("bob"))) == text


async def test_a_server_that_shuts_down_refuses_with_503(server: RoomServer) -> None:
    async with serving_stream(server) as url:
        await server.shut_down()
        assert await refusal(url, hello(make_token("bob"))) == "503 the server shuts down"


# Slow clients


@pytest.mark.parametrize("trickle", [b"", PREAMBLE[:3], hello("a.b.c")[:20]])
async def test_who_does_not_say_hello_in_time_is_told_so(trickle: bytes) -> None:
    server = RoomServer(API_KEYS, ServerLimits(handshake_timeout=0.2))
    async with serving_stream(server) as url, connect_stream_link(url) as peer:
        for byte in trickle:
            await peer.send(bytes([byte]))
        records = await peer.receive_rest()
    assert records == [("ANSWER", "408 no HELLO was received within 0.2 s")]


async def test_of_many_that_send_nothing_the_oldest_are_rejected(
    join: Join,
) -> None:
    server = RoomServer(API_KEYS, ServerLimits(max_joins_in_flight=20))
    async with serving_stream(server) as url, AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(connect_stream_link(url)) for _ in range(200)]
        await greet(url)
        text = "503 20 others wait to join: try again"
        for peer in peers[:180]:
            assert await peer.receive_rest() == [("ANSWER", text)]
        await greet(url)


async def test_those_that_say_nothing_do_not_keep_the_server_from_ending(
    server: RoomServer,
) -> None:
    async with AsyncExitStack() as stack:
        async with serving_stream(server) as url:
            peers = [await stack.enter_async_context(connect_stream_link(url)) for _ in range(5)]
            await greet(url)
        for peer in peers:
            assert await peer.receive_rest() == [("ANSWER", "503 the server shuts down")]


@pytest.mark.rule("V9")
async def test_a_member_that_trickles_after_joining_counts_as_silent(join: Join) -> None:
    server = RoomServer(API_KEYS, ServerLimits(ping_timeout=1))

    async def trickle() -> None:
        for byte in message(Frame(Channel.RELIABLE, bytes(100_000))):
            await peer.send(bytes([byte]))
            await anyio.sleep(0.05)

    async with serving_stream(server) as url, connect_stream_link(url) as peer:
        await peer.join(make_token("mallory"))
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(trickle)
            records = await peer.receive_rest()
            task_group.cancel_scope.cancel()
    assert records[-1] == ("END", "it was silent for 1 s")


# Misbehaviour in the room


@pytest.mark.rule("P8")
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (FOUR_GIGABYTES, "a record of 4,294,967,295 bytes, over the limit of 1,048,576"),
        (b"\x03\0\x10\0\x01", "a record of 1,048,577 bytes, over the limit of 1,048,576"),
        (b"\x09\0\0\0\0", "a record of unknown kind 9"),
        (hello("a.b.c", before=b""), "a record HELLO after the handshake"),
    ],
    ids=["4 GB", "a byte too much", "unknown kind", "second hello"],
)
async def test_a_member_that_breaks_the_protocol_is_disconnected_alone_with_a_reason(
    server: RoomServer, join: Join, data: bytes, reason: str
) -> None:
    async with (
        serving_stream(server) as url,
        two_callers(join, url),
        connect_stream_link(url) as mallory,
    ):
        await mallory.join(make_token("mallory"))
        # What came before it counts.
        await mallory.send(message(Frame(Channel.RELIABLE, user("hi").SerializeToString())) + data)
        assert (await mallory.receive_rest())[-1] == ("END", reason)


@pytest.mark.rule("P8")
@pytest.mark.parametrize("body", [b"", b"\xff\xff\xff", b"\x12\x05abc", b"\x08\x01"])
async def test_a_message_that_holds_no_frames_is_dropped_and_the_connection_lives(
    server: RoomServer, body: bytes
) -> None:
    async with serving_stream(server) as url, connect_stream_link(url) as peer:
        await peer.join(make_token("mallory"))
        await peer.send(encode_record(RecordKind.MESSAGE, body) + message(ping(1)))
        ((_, pong_frame),) = decode_frames((await peer.receive()).body)
        pong = rtc.SignalResponse.FromString(pong_frame)
        assert pong.pong_resp.last_ping_timestamp == 1


@pytest.mark.rule("P8")
async def test_a_flood_closes_that_one_connection_with_a_stated_reason(join: Join) -> None:
    server = RoomServer(API_KEYS, ServerLimits(max_malformed=20))
    async with serving_stream(server) as url, two_callers(join, url):
        async with connect_stream_link(url) as mallory:
            await mallory.join(make_token("mallory"))
            await mallory.send(encode_record(RecordKind.MESSAGE, b"") * 21)
            kind, reason = (await mallory.receive_rest())[-1]
        assert kind == "END"
        assert reason.startswith("it sent more than 20 malformed messages, the last being ")


@pytest.mark.rule("V8")
async def test_a_member_that_never_reads_is_disconnected_alone(join: Join) -> None:
    limits = ServerLimits(max_queue_bytes=500_000, ping_interval=1, ping_timeout=5)
    server = RoomServer(API_KEYS, limits)
    async with (
        serving_stream(server) as url,
        two_callers(join, url),
        connect_stream_link(url) as sloth,
        join("carol", to=url) as carol,
    ):
        await sloth.join(make_token("sloth"))
        await carol.wait_for_participant("sloth")
        while "sloth" in carol.remote_participants:
            await carol.local_participant.publish_data(
                b"x" * 60_000, destination_identities=["sloth"]
            )
            await anyio.lowlevel.checkpoint()
