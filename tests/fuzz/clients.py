"""Clients of a server that is none: what it answers to their first words, and after them."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn
from unittest.mock import patch

import anyio
import trio.abc
import trio.socket
from attrs import define, field
from livekit.protocol import rtc

from trio_rpc import ConnectError, DisconnectedError
from trio_rpc.links import stream as stream_links
from trio_rpc.links.records import PREAMBLE, RecordKind, encode_record
from trio_rpc.links.stream import StreamAddress
from trio_rpc.links.urls import connector_for
from trio_rpc.links.websocket import on_trio

from .byte_streams import ScriptedByteStream
from .choices import messages, pieces
from .connections import websocket_frame
from .honest import honest_room
from .target import Attack, require

_TCP: Final = "tcp://127.0.0.1:1"
_WS: Final = "ws://127.0.0.1:1"


async def _join(url: str) -> None:
    """Join for a minute, which nothing but `ConnectError` and `DisconnectedError` may prevent."""
    try:
        async with honest_room().connect(url, "a-token"):
            await anyio.sleep(60)
    except (ConnectError, DisconnectedError):
        pass


# Stream links


@asynccontextmanager
async def stream_client() -> AsyncIterator[Attack]:
    """Attack a client of a stream link; the input is what comes over its socket."""

    async def attack(data: bytes) -> None:
        connection = ScriptedByteStream.of(_answers(data), lasts=data[1:2] == b"\xff")

        async def connect(*_arguments: object) -> ScriptedByteStream:
            return connection

        with patch.dict(stream_links._CONNECT, {"tcp": connect}):
            await _join(_TCP)

    yield attack


def _answers(data: bytes) -> Iterator[bytes]:
    """Cut an input in pieces; those of an even one are records after an answer that is right."""
    if data[:1] and data[0] % 2 == 0:
        yield PREAMBLE + encode_record(RecordKind.ANSWER, b"200 ")
        for message in messages(data[2:]):
            yield encode_record(RecordKind.MESSAGE, message)
    else:
        yield from pieces(data)


# WebSockets

_KEY: Final = re.compile(rb"Sec-WebSocket-Key: (\S+)", re.IGNORECASE)
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_UPGRADED: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %ACCEPT%\r\nSec-WebSocket-Protocol: trio-rpc.v1\r\n\r\n"
)


@define(eq=False)
class _AnsweringStream(ScriptedByteStream):
    """A stream on which what an input says comes once something was sent."""

    _asked: anyio.Event = field(factory=anyio.Event)

    async def receive(self) -> bytes:
        await self._asked.wait()
        found = _KEY.search(self.written)
        accept = base64.b64encode(hashlib.sha1((found[1] if found else b"") + _GUID).digest())
        return (await super().receive()).replace(b"%ACCEPT%", accept)

    def write(self, data: bytes) -> bool:
        self._asked.set()
        return super().write(data)


@asynccontextmanager
async def websocket_client() -> AsyncIterator[Attack]:
    """Attack a client of a WebSocket; the input is what comes over its socket."""

    async def attack(data: bytes) -> None:
        connection = _AnsweringStream.of(_websocket_answers(data))

        async def connect(*_arguments: object) -> ScriptedByteStream:
            return connection

        with patch.object(on_trio, "_open_stream", connect):
            await _join(_WS)

    yield attack


def _websocket_answers(data: bytes) -> Iterator[bytes]:
    """Cut as `_answers` does; messages are a server's frames, or bytes in their place."""
    if data[:1] and data[0] % 2 == 0:
        yield _UPGRADED
        for message in messages(data[2:]):
            yield message if data[1] % 2 else _unmasked(message)
    else:
        # Whole, since it names what is put in.
        yield data[2:]


def _unmasked(message: bytes) -> bytes:
    frame = websocket_frame(2, message)
    head = len(frame) - len(message) - 4
    return bytes([frame[0], frame[1] & 0x7F]) + frame[2:head] + message


# URLs


@asynccontextmanager
async def urls() -> AsyncIterator[Attack]:
    """Open links to URLs; the input is one, and nobody can be reached at any."""
    trio.socket.set_custom_hostname_resolver(_NoHosts())
    trio.socket.set_custom_socket_factory(_NoSockets())
    # Made once: it takes longer than all else.
    context = ssl.create_default_context()
    request = rtc.JoinRequest()

    async def attack(data: bytes) -> None:
        url = data.decode(errors="surrogateescape" if data[:1] == b"\xff" else "replace")
        try:
            address = StreamAddress.parse(url)
        except ValueError:
            pass
        else:
            again = StreamAddress.parse(str(address))
            require(again == address, f"{address!r} became {again!r}")
        try:
            async with connector_for(url, context).open_link("a-token", request):
                pass
        except ConnectError:
            return
        require(False, "a participant was reached")

    try:
        yield attack
    finally:
        trio.socket.set_custom_hostname_resolver(None)
        trio.socket.set_custom_socket_factory(None)


class _NoHosts(trio.abc.HostnameResolver):
    async def getaddrinfo(self, *_arguments: Any) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "no such host")

    async def getnameinfo(self, *_arguments: Any) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "no such host")


class _NoSockets(trio.abc.SocketFactory):
    def socket(self, *_arguments: Any) -> NoReturn:
        raise OSError("there is no network")
