"""Nonsense that only a socket can bring: it ends the connection that it came on at the most."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import httpx
import pytest
import wsproto.events
from livekit.protocol import rtc
from wsproto.events import BytesMessage, TextMessage

from trio_rpc.links import Channel, Frame
from trio_rpc.links.frames import decode_frames, encode_frames
from trio_rpc.server import RoomServer, ServerLimits

from ..conftest import Join
from ..support.callers import two_callers
from ..support.messages import user
from ..support.raw_sockets import RawWebSocket, connect_websocket
from ..support.serving import port_of, serving
from ..support.tokens import API_KEYS, make_token

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


@pytest.fixture
def server() -> RoomServer:
    return RoomServer(API_KEYS, ServerLimits(max_malformed=20))


def ping_message(timestamp: int) -> bytes:
    request = rtc.SignalRequest(ping_req=rtc.Ping(timestamp=timestamp))
    return encode_frames([Frame(Channel.SIGNAL, request.SerializeToString())])


async def receive_pong(websocket: RawWebSocket, timestamp: int) -> None:
    """Wait for the answer to `ping_message(timestamp)`."""
    buffer = b""
    while True:
        event = await websocket.receive()
        assert isinstance(event, BytesMessage), event
        buffer += event.data
        if event.message_finished:
            for channel, body in decode_frames(buffer):
                response = rtc.SignalResponse.FromString(body)
                if channel is Channel.SIGNAL and response.HasField("pong_resp"):
                    assert response.pong_resp.last_ping_timestamp == timestamp
                    return
            buffer = b""


@asynccontextmanager
async def two_callers_and_http(join: Join, url: str) -> AsyncIterator[None]:
    """Run two callers, as in `two_callers`; when the block ends, HTTP has to work too."""
    async with two_callers(join, url):
        yield
        async with httpx.AsyncClient(trust_env=False) as client:
            response = await client.get(f"http://127.0.0.1:{port_of(url)}/")
        assert (response.status_code, response.text) == (200, "OK")


def data_message(text: str) -> bytes:
    return encode_frames([Frame(Channel.RELIABLE, user(text).SerializeToString())])


@pytest.mark.rule("P8")
@pytest.mark.parametrize(
    "event",
    [
        BytesMessage(b""),
        BytesMessage(b"\xff\xff\xff"),
        BytesMessage(data_message("hello")[:-1]),
        BytesMessage(data_message("hello") + b"\x0a"),
        BytesMessage(b"\x12\xff\xff\xff\xff\xff"),
        BytesMessage(b"\x22\x01x"),
        BytesMessage(b"\x08\x01"),
        TextMessage(""),
        TextMessage("hello"),
        TextMessage("\u00e4\U0001f600"),
    ],
    ids=[
        "empty",
        "garbage",
        "cut short",
        "with half a frame more",
        "endless length",
        "unknown channel alone",
        "a field that is no frame",
        "empty text",
        "text",
        "more text",
    ],
)
async def test_a_message_that_holds_no_frames_is_dropped_and_the_connection_lives(
    url: str, join: Join, event: wsproto.events.Event
) -> None:
    async with (
        two_callers_and_http(join, url),
        connect_websocket(url, make_token("mallory")) as mallory,
    ):
        await mallory.send(event)
        await mallory.send(BytesMessage(ping_message(1)))
        await receive_pong(mallory, 1)


@pytest.mark.rule("P8")
async def test_frames_after_one_of_an_unknown_channel_are_read(url: str) -> None:
    async with connect_websocket(url, make_token("alice")) as alice:
        await alice.send(BytesMessage(b"\x22\x01x" + ping_message(1)))
        await receive_pong(alice, 1)


@pytest.mark.rule("P8")
async def test_a_message_may_come_in_fragments(url: str) -> None:
    message = ping_message(1)
    async with connect_websocket(url, make_token("alice")) as alice:
        for byte in message[:-1]:
            await alice.send(BytesMessage(bytes([byte]), message_finished=False))
        await alice.send(BytesMessage(message[-1:]))
        await receive_pong(alice, 1)


@pytest.mark.rule("P8")
async def test_a_flood_closes_that_one_connection_with_a_stated_reason(
    server: RoomServer, url: str, join: Join
) -> None:
    async with two_callers_and_http(join, url):
        async with connect_websocket(url, make_token("mallory")) as mallory:
            for _ in range(21):
                await mallory.send(TextMessage("nonsense"))
            code, reason = await mallory.receive_close()
        assert code == 1000
        assert reason.startswith(
            "it sent more than 20 malformed messages, the last being a frame of 1"
        )
        assert server.statistics().participants == 2


@pytest.mark.rule("P8", "P7")
async def test_a_message_of_2_mb_closes_that_one_connection(
    server: RoomServer, url: str, join: Join
) -> None:
    async with two_callers_and_http(join, url):
        async with connect_websocket(url, make_token("mallory")) as mallory:
            await mallory.send(BytesMessage(b"\x12" * 2_000_000))
            code, _ = await mallory.receive_close()
        assert code == 1009


@pytest.mark.rule("P8")
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x82\x05hello", id="unmasked"),
        pytest.param(b"\x8f\x85\0\0\0\0hello", id="unknown opcode"),
        pytest.param(b"\xf2\x85\0\0\0\0hello", id="reserved bits"),
        pytest.param(b"\x89\xfe\x00\xff\0\0\0\0" + b"p" * 255, id="long ping"),
        pytest.param(b"\x81\x82\0\0\0\0\xff\xfe", id="text that is not UTF-8"),
        pytest.param(b"\x80\x81\0\0\0\0x", id="continuation of nothing"),
        pytest.param(b"\x88\x80\0\0\0\0" * 3 + b"\x82\x80\0\0\0\0", id="data after its end"),
    ],
)
async def test_who_breaks_the_websocket_protocol_is_cut_off_alone(
    server: RoomServer, url: str, join: Join, data: bytes
) -> None:
    async with (
        two_callers_and_http(join, url),
        connect_websocket(url, make_token("mallory")) as mallory,
    ):
        await mallory.receive()
        assert server.statistics().participants == 3
        await mallory.stream.send(data)
        await receive_all(mallory.stream)


async def receive_all(stream: anyio.abc.ByteStream) -> None:
    """Read until the server has closed the connection."""
    try:
        while True:
            await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        pass


# Before there is a WebSocket

UPGRADE = (
    b"GET /rtc HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
H2C = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"


def admitted(data: bytes) -> bytes:
    """Return an upgrade request with a valid token, and `data` right after it."""
    token = make_token("mallory").encode()
    return UPGRADE + b"Authorization: Bearer " + token + b"\r\n\r\n" + data


@pytest.mark.rule("P8", "V1")
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
        pytest.param(b"\0\xff\r\n\r\n", id="garbage"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: test\r\nX: " + b"x" * 100_000, id="endless header"),
        pytest.param(UPGRADE, id="cut short"),
        pytest.param(UPGRADE + b"Sec-WebSocket-Protocol: \xff\r\n\r\n", id="binary subprotocol"),
        pytest.param(UPGRADE + b"Sec-WebSocket-Extensions: \xff\r\n\r\n", id="binary extension"),
        pytest.param(UPGRADE + b"Authorization: Bearer \xff\r\n\r\n", id="binary token"),
        pytest.param(UPGRADE.replace(b"/rtc", b"/%ff%00%0a") + b"\r\n", id="binary path"),
        pytest.param(UPGRADE.replace(b"13", b"12") + b"\r\n", id="old version"),
        pytest.param(UPGRADE + b"\r\n\x82\x80\0\0\0\0", id="data before the answer"),
        pytest.param(admitted(b"\x82\x80\0\0\0\0"), id="data before the answer, admitted"),
        pytest.param(admitted(b"\x88\x80\0\0\0\0" * 3), id="closed before the answer"),
        pytest.param(H2C + b"HTTP2-Settings: AAAA\r\n\r\n", id="h2c with bad settings"),
        pytest.param(HTTP2 + b"\xff" * 100, id="HTTP/2 garbage"),
        pytest.param(HTTP2 + b"\0\0\1\1\5\0\0\0\1\x84", id="HTTP/2 without a method"),
        pytest.param(HTTP2 + b"\0\0\5\2\0\0\0\0\1\0\0\0\1\x10", id="HTTP/2 priority of itself"),
    ],
)
async def test_whatever_comes_before_the_handshake_harms_nobody_else(
    server: RoomServer, join: Join, data: bytes
) -> None:
    async with (
        serving(server) as url,
        two_callers_and_http(join, url),
        await anyio.connect_tcp("127.0.0.1", port_of(url)) as stream,
    ):
        await stream.send(data)
        await stream.send_eof()
        with anyio.move_on_after(0.5):
            await receive_all(stream)


@pytest.mark.rule("B11")
@pytest.mark.parametrize("path", ["/rtc", "/rtc/v1", "/rtc/validate", "/rtc/v1/validate"])
async def test_a_url_of_thousands_of_parameters_is_refused_before_they_are_looked_at(
    url: str, path: str
) -> None:
    head = UPGRADE if not path.endswith("validate") else b"GET /rtc HTTP/1.1\r\nHost: test\r\n"
    for count, status in ((100, b"401"), (101, b"400"), (10_000, b"400")):
        target = path.encode() + b"?" + b"&".join([b"a"] * count)
        async with await anyio.connect_tcp("127.0.0.1", port_of(url)) as stream:
            await stream.send(head.replace(b"/rtc", target) + b"\r\n")
            assert (await stream.receive()).split()[1] == status


@pytest.mark.rule("V1")
async def test_connections_that_say_nothing_harm_nobody(url: str, join: Join) -> None:
    async with two_callers_and_http(join, url), anyio.create_task_group() as task_group:

        async def idle() -> None:
            async with await anyio.connect_tcp("127.0.0.1", port_of(url)) as stream:
                await stream.receive()

        for _ in range(50):
            task_group.start_soon(idle)
        await anyio.wait_all_tasks_blocked()
        task_group.cancel_scope.cancel()
