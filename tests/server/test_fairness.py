"""One connection has much to say: the others have their turn all along."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import anyio
import h11
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from trio_rpc.links import Channel, Frame, LinkClosedError, open_framed_link
from trio_rpc.links.frames import encode_frames
from trio_rpc.links.record_stream import RecordStream
from trio_rpc.links.records import PREAMBLE, Record, RecordDecoder, RecordKind, encode_record
from trio_rpc.server.http.connection import HttpConnection, HttpLimits, response
from trio_rpc.server.http.frame_cutter import MAX_FRAMES
from trio_rpc.server.http.websocket import ServerWebSocket

from ..links.web import serve_app
from ..net.test_handshakes import unlimited
from ..support.byte_streams import FullByteStream, bystander, largest_step
from ..support.serving import port_of

pytestmark = [pytest.mark.anyio, pytest.mark.rule("B7")]


# WebSocket frames


class CountingProtocol(ServerProtocol):
    """A protocol that counts the frames that it has parsed."""

    frames = 0

    def recv_frame(self, frame: Any) -> None:
        self.frames += 1
        super().recv_frame(frame)


def masked(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    return WebSocketFrame(opcode, data, fin).serialize(mask=True)


PING = masked(Opcode.PING)
PONG = masked(Opcode.PONG)
MESSAGE = masked(Opcode.BINARY, b"x")
EMPTY_FRAGMENT = masked(Opcode.CONT, fin=False)


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        (PING * 40_000 + MESSAGE, 1),
        (PONG * 40_000 + MESSAGE, 1),
        (
            masked(Opcode.BINARY, fin=False) + EMPTY_FRAGMENT * 40_000 + masked(Opcode.CONT, b"x"),
            1,
        ),
        ((PING * 31 + MESSAGE) * 1_000, 1_000),
        (MESSAGE * 40_000, 40_000),
    ],
    ids=["pings", "pongs", "empty fragments", "pings between messages", "messages"],
)
@pytest.mark.parametrize("early", [False, True], ids=["later", "with the handshake"])
async def test_tiny_frames_of_a_websocket(data: bytes, messages: int, early: bool) -> None:
    protocol = CountingProtocol(state=State.OPEN)
    websocket = ServerWebSocket(FullByteStream(b"" if early else data), protocol, 1.0)
    if early:
        websocket.feed(data)
    async with bystander(lambda: protocol.frames) as seen:
        for _ in range(messages):
            assert await websocket.receive() == b"x"
    assert largest_step([0, *seen, protocol.frames]) <= 4 * MAX_FRAMES


# Records of stream links


@pytest.mark.parametrize("body", [encode_frames([Frame(Channel.LOSSY, b"")]), b""])
async def test_tiny_records_of_a_stream_link(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = 0
    next_record = RecordDecoder.next_record

    def count(decoder: RecordDecoder) -> Record | None:
        nonlocal decoded
        record = next_record(decoder)
        decoded += record is not None
        return record

    monkeypatch.setattr(RecordDecoder, "next_record", count)
    records = encode_record(RecordKind.MESSAGE, body) * 40_000
    stream = RecordStream(FullByteStream(PREAMBLE + records), 1_000)
    async with open_framed_link(stream) as link, bystander(lambda: decoded) as seen:
        with suppress(LinkClosedError):
            while True:
                with suppress(ValueError):  # a message without a frame
                    await link.receive()
    assert decoded == 40_000
    assert largest_step([0, *seen, decoded]) <= 4 * 32


# HTTP

CHUNK = b"1\r\nx\r\n"


@pytest.mark.real_time
async def test_requests_that_come_at_once() -> None:
    answered = 0

    async def home(_request: Request) -> Response:
        nonlocal answered
        answered += 1
        return PlainTextResponse("home")

    async def receive_all() -> None:
        received.extend([data async for data in stream])

    received: list[bytes] = []
    async with serve_app(Starlette(routes=[Route("/", home)])) as url:
        stream = await anyio.connect_tcp("127.0.0.1", port_of(url))
        async with stream, bystander(lambda: answered) as seen, anyio.create_task_group() as tasks:
            tasks.start_soon(receive_all)
            get = b"GET / HTTP/1.1\r\nHost: test\r\n"
            await stream.send((get + b"\r\n") * 9_999 + get + b"Connection: close\r\n\r\n")
    assert b"".join(received).count(b"HTTP/1.1 200 ") == answered == 10_000
    assert largest_step(seen) <= 4


def tiny_chunks(count: int) -> HttpConnection:
    head = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
    stream = FullByteStream(head + CHUNK * count + b"0\r\n\r\n")
    return HttpConnection(stream, HttpLimits(), unlimited())


async def test_tiny_chunks_of_a_body() -> None:
    connection = tiny_chunks(40_000)
    chunks = 0
    async with bystander(lambda: chunks) as seen:
        assert await connection.receive_request() is not None
        while isinstance(await connection.receive_event(), h11.Data):
            chunks += 1
        await connection.send(response(204, []), h11.EndOfMessage())
        assert connection.is_kept_alive()
    assert chunks == 40_000
    assert largest_step([0, *seen, chunks]) <= 100


async def test_a_body_of_chunks_that_nobody_reads_is_not_looked_at() -> None:
    connection = tiny_chunks(5)
    assert await connection.receive_request() is not None
    await connection.send(response(204, []), h11.EndOfMessage())
    assert not connection.is_kept_alive()
