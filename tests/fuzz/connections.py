"""Connections to a server: HTTP, WebSockets, and stream links from their first byte."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import ModuleType
from typing import Final, TypeAlias
from unittest.mock import patch

import anyio
from livekit.protocol import models, rtc

from trio_rpc import concurrency
from trio_rpc.concurrency import AsyncFunction, Event
from trio_rpc.links import Channel, Frame
from trio_rpc.links.frames import encode_frames
from trio_rpc.links.records import PREAMBLE, RecordKind, encode_record
from trio_rpc.net.listening import ServeConnection
from trio_rpc.server import RoomServer, create_app, stream_listener
from trio_rpc.server.http import server as http_server
from trio_rpc.server.http.connection import HttpLimits
from trio_rpc.server.http.server import serve_http

from ..server.twirp.client import admin_token
from .byte_streams import ScriptedByteStream, UnconnectedSocket
from .choices import Choices, pieces
from .forgery import Forger
from .honest import token
from .target import Arena, Attack, require
from .venue import LIMITS, Venue

_IDENTITIES: Final = ("alice", "bob", "mallory", "nobody", "")
_HTTP_LIMITS: Final = HttpLimits(max_head_bytes=4_096, max_message_bytes=LIMITS.max_message_bytes)

#: Opens what serves connections to a server, while a block runs.
_Open: TypeAlias = Callable[[RoomServer], AbstractAsyncContextManager[ServeConnection]]


@asynccontextmanager
async def _serve_http(server: RoomServer) -> AsyncIterator[ServeConnection]:
    stop = concurrency.current().event()
    with socket.socket() as listener:

        async def serve() -> None:
            await serve_http(create_app(server), listener, stop, _HTTP_LIMITS)

        async with _served_by(http_server, serve) as serve_connection:
            yield serve_connection


@asynccontextmanager
async def _serve_stream(server: RoomServer) -> AsyncIterator[ServeConnection]:
    async def serve() -> None:
        await stream_listener.serve_stream(server, "tcp://127.0.0.1:0")

    async with _served_by(stream_listener, serve) as serve_connection:
        yield serve_connection


@asynccontextmanager
async def _served_by(module: ModuleType, serve: AsyncFunction) -> AsyncIterator[ServeConnection]:
    """Run a server that accepts nobody; yields what it would serve each connection with."""
    serving = anyio.Event()
    served: list[ServeConnection] = []

    async def serve_connections(
        listener: socket.socket, serve_connection: ServeConnection, stop: Event, **_options: object
    ) -> None:
        served.append(serve_connection)
        serving.set()
        await stop.wait()
        listener.close()

    with patch.object(module, "serve_connections", serve_connections):
        async with concurrency.open_service_nursery() as nursery:
            nursery.start_soon(serve)
            await serving.wait()
            yield served[0]


def _arena(open_server: _Open, connect: Callable[[bytes], ScriptedByteStream]) -> Arena:
    @asynccontextmanager
    async def open_arena() -> AsyncIterator[Attack]:
        async with Venue.open() as venue, open_server(venue.server) as serve_connection:

            async def attack(data: bytes) -> None:
                stream = connect(data)
                try:
                    with anyio.fail_after(120), UnconnectedSocket() as accepted:
                        await serve_connection(accepted, stream)
                finally:
                    stream.abort()
                require(b"HTTP/1.1 500" not in stream.written, "it was answered with 500")
                await venue.check()

            yield attack

    return open_arena


def with_tokens(data: bytes) -> bytes:
    """Return an input with tokens in it where it names them."""
    for name, value in (("%MALLORY%", token("mallory")), ("%ADMIN%", _admin_token())):
        data = data.replace(name.encode(), value.encode())
    return data


def _admin_token() -> str:
    # Made once, as the others are.
    if not _admin_tokens:
        _admin_tokens.append(admin_token())
    return _admin_tokens[0]


_admin_tokens: Final[list[str]] = []


# HTTP


def _connect_http(data: bytes) -> ScriptedByteStream:
    return ScriptedByteStream.of(pieces(with_tokens(data)), lasts=data[1:2] == b"\xff")


http: Final = _arena(_serve_http, _connect_http)


# WebSockets

_UPGRADE: Final = (
    b"GET /rtc?client_protocol=2 HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Protocol: trio-rpc.v1\r\nAuthorization: Bearer %MALLORY%\r\n\r\n"
)
#: Not to change what is masked, so that it stays readable.
_MASK: Final = bytes(4)


def websocket_frame(opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0) -> bytes:
    """Return a frame of a client's."""
    head = bytearray([(0x80 if fin else 0) | rsv << 4 | opcode])
    if len(payload) < 126:
        head.append(0x80 | len(payload))
    elif len(payload) < 65_536:
        head += b"\xfe" + len(payload).to_bytes(2, "big")
    else:
        head += b"\xff" + len(payload).to_bytes(8, "big")
    return bytes(head) + _MASK + payload


def _connect_websocket(data: bytes) -> ScriptedByteStream:
    def come() -> Iterator[bytes]:
        yield with_tokens(_UPGRADE)
        yield from pieces(data)

    return ScriptedByteStream.of(come(), lasts=data[1:2] == b"\xff")


def _forge_websocket(data: bytes) -> ScriptedByteStream:
    def come() -> Iterator[bytes]:
        choices = Choices(data)
        forger = Forger(choices, _IDENTITIES, [])
        early = choices.flag()
        head = with_tokens(_UPGRADE)
        yield head + b"".join(_frames(choices, forger)) if early else head
        while choices:
            yield b"".join(_frames(choices, forger))

    return ScriptedByteStream.of(come())


def _frames(choices: Choices, forger: Forger) -> Iterator[bytes]:
    match choices.below(8):
        case 0 | 1 | 2 | 3:
            yield websocket_frame(2, encode_frames(forger.frames()))
        case 4:
            message, cut = encode_frames(forger.frames()), choices.byte()
            yield websocket_frame(2, message[:cut], fin=False)
            if choices.flag():
                yield websocket_frame(9, choices.content()[:125])
            yield websocket_frame(0, message[cut:])
        case 5:
            yield websocket_frame(choices.one_of((8, 9, 10)), choices.content()[:130])
        case 6:
            yield websocket_frame(1, choices.content())
        case _:
            rsv = choices.one_of((0, 0, 0, 4, 2, 1))
            opcode, fin = choices.below(16), choices.flag()
            yield websocket_frame(opcode, choices.content(), fin=fin, rsv=rsv)


websocket: Final = _arena(_serve_http, _connect_websocket)
websocket_messages: Final = _arena(_serve_http, _forge_websocket)


# Stream links


def _connect_stream(data: bytes) -> ScriptedByteStream:
    return ScriptedByteStream.of(pieces(data), lasts=data[1:2] == b"\xff")


def _forge_stream(data: bytes) -> ScriptedByteStream:
    def come() -> Iterator[bytes]:
        choices = Choices(data)
        forger = Forger(choices, _IDENTITIES, [])
        yield PREAMBLE + (_hello(choices) if choices.below(8) else b"")
        while choices:
            yield b"".join(_records(choices, forger))

    return ScriptedByteStream.of(come(), lasts=data[:1] == b"\xff")


def _hello(choices: Choices) -> bytes:
    client = models.ClientInfo(client_protocol=2)
    request = rtc.JoinRequest(client_info=client).SerializeToString()
    match choices.below(8):
        case 5:
            client.client_protocol = choices.number() & 0x7FFF_FFFF
            client.version = choices.text()
            request = rtc.JoinRequest(client_info=client).SerializeToString()
        case 6:
            request = choices.content()
        case 7:
            return encode_record(RecordKind.HELLO, choices.content())
        case _:
            pass
    return encode_record(RecordKind.HELLO, token("mallory").encode() + b"\n" + request)


def _records(choices: Choices, forger: Forger) -> Iterator[bytes]:
    match choices.below(8):
        case 5:
            yield encode_record(choices.one_of(tuple(RecordKind)), choices.content())
        case 6:
            yield choices.take(choices.byte())
        case 7:
            yield encode_record(RecordKind.MESSAGE, choices.content())
        case _:
            frames: list[Frame] = list(forger.frames())
            if choices.flag():
                frames.append(Frame(Channel.SIGNAL, forger.signal()))
            yield encode_record(RecordKind.MESSAGE, encode_frames(frames))


stream: Final = _arena(_serve_stream, _connect_stream)
stream_messages: Final = _arena(_serve_stream, _forge_stream)
