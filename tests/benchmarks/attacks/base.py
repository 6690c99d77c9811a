"""An attack, and the one who attacks: connections by hand, on which every byte is counted."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from attrs import define, field, frozen
from livekit.protocol import models, rtc

from trio_rpc.links import Channel, Frame
from trio_rpc.links.frames import decode_frames, encode_frames

from ...support.tokens import make_token
from ..crowded import upgrade_request

VICTIM: Final = "victim"
ATTACKER: Final = "attacker"
#: Bytes per second of one connection: what any uplink has, and more than Python can read.
MAX_RATE: Final = 20_000_000
SMALL_BUFFER: Final = 4_096
_PAUSE: Final = 0.1
_READ_BYTES: Final = 65_536
#: Text, without the length of the record that it is in, whose last byte may look like text.
_TEXT: Final = re.compile(rb"(?:\0\0\0.)?([ -~]{12,})", re.DOTALL)
_CLOSE_FRAME: Final = re.compile(rb"\x88[\x02-\x7d]([\x03\x0f].)([ -~]*)$", re.DOTALL)


@define(eq=False)
class Attacker:
    """An attacker on one link, whose bytes in both directions are counted.

    Attributes:
        urls: Of the server, by link.
        link: Which of them the attack takes.
        sent_bytes: Handed to sockets so far, on all connections.
        connections: Opened so far.
        told: Texts with which the server ended connections, and how often.
        began: Set with the first bytes.
    """

    urls: Mapping[str, str]
    link: str
    sent_bytes: int = 0
    connections: int = 0
    told: Counter[str] = field(factory=Counter[str])
    began: asyncio.Event = field(factory=asyncio.Event)

    @asynccontextmanager
    async def connection(self, receive_buffer: int | None = None) -> AsyncGenerator[Connection]:
        """Open a connection on which nothing has been sent yet."""
        parts = urlsplit(self.urls[self.link])
        connected = socket.socket()
        if receive_buffer is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connected.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connected, (parts.hostname, parts.port))
        limit = _READ_BYTES if receive_buffer is None else receive_buffer
        reader, writer = await asyncio.open_connection(sock=connected, limit=limit)
        self.connections += 1
        try:
            yield Connection(self, reader, writer)
        finally:
            writer.transport.abort()

    def hello(self, identity: str) -> bytes:
        """Return the first bytes of a joining participant."""
        token = make_token(identity)
        if self.link == "websocket":
            return upgrade_request(urlsplit(self.urls[self.link]).netloc, token)
        body = token.encode() + b"\n" + rtc.JoinRequest().SerializeToString()
        return b"trio-rpc.v1\n" + struct.pack("!BI", 1, len(body)) + body

    @asynccontextmanager
    async def joined(
        self, identity: str = ATTACKER, receive_buffer: int | None = None
    ) -> AsyncGenerator[Connection]:
        """Open a connection of a participant that has joined."""
        async with self.connection(receive_buffer) as connection:
            await connection.send(self.hello(identity))
            if self.link == "websocket":
                await connection.reader.readuntil(b"\r\n\r\n")
            yield connection

    async def keep_joined(
        self,
        act: Callable[[Connection], Awaitable[None]],
        identity: str = ATTACKER,
        *,
        listens: bool = True,
    ) -> None:
        """Join and act, and again whenever the server has ended the connection."""
        while True:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                async with self.joined(identity) as connection:
                    listening = asyncio.create_task(connection.listen()) if listens else None
                    try:
                        while not connection.ended:
                            await act(connection)
                    finally:
                        if listening is not None:
                            listening.cancel()
                            await asyncio.wait([listening])
            await asyncio.sleep(_PAUSE)

    def message(self, body: bytes) -> bytes:
        """Return a message as the link carries it; a client's is masked on a WebSocket."""
        if self.link == "tcp":
            return struct.pack("!BI", 3, len(body)) + body
        return websocket_frame(2, body)

    def packets(self, packets: Iterable[models.DataPacket]) -> bytes:
        """Return a message with these packets."""
        frames = (Frame(Channel.RELIABLE, each.SerializeToString()) for each in packets)
        return self.message(encode_frames(frames))


@define(eq=False)
class Connection:
    """A connection of the attacker's.

    Attributes:
        ended: Whether the server has ended it.
    """

    attacker: Attacker
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ended: bool = False

    async def send(self, data: bytes) -> None:
        """Send, no faster than `MAX_RATE`.

        Raises:
            ConnectionError: the server has ended the connection.
        """
        if self.ended:
            raise ConnectionResetError
        self.attacker.sent_bytes += len(data)
        self.writer.write(data)
        self.attacker.began.set()
        await self.writer.drain()
        await asyncio.sleep(len(data) / MAX_RATE)

    async def send_packets(self, *packets: models.DataPacket) -> None:
        """Send one message."""
        await self.send(self.attacker.packets(packets))

    async def listen(self) -> None:
        """Read and forget, until the server ends the connection or nobody listens any more."""
        last = b""
        try:
            with suppress(ConnectionError):
                while piece := await self.reader.read(_READ_BYTES):
                    last = (last + piece)[-500:]
            self.ended = True
        finally:
            if self.ended:
                self.attacker.told[_close_reason(last)] += 1

    async def received_packets(self) -> list[models.DataPacket]:
        """Receive the packets of the next message."""
        body = await self._receive_message()
        return [
            models.DataPacket.FromString(frame.body)
            for frame in decode_frames(body)
            if frame.channel is Channel.RELIABLE
        ]

    async def _receive_message(self) -> bytes:
        read = self.reader.readexactly
        if self.attacker.link == "tcp":
            _, length = struct.unpack("!BI", await read(5))
            return await read(length)
        _, length = await read(2)
        if length >= 126:
            length = int.from_bytes(await read(2 if length == 126 else 8))
        return await read(length)


@frozen
class Attack:
    """Something that a hostile peer does over and over.

    Attributes:
        run: Does it, until cancelled.
        links: Over which links it is done, each measured by itself.
        called_by: Role that calls the attacker meanwhile; it is the callee then.
    """

    run: Callable[[Attacker], Coroutine[Any, Any, None]]
    links: tuple[str, ...] = ("websocket",)
    called_by: Literal["", "victim", "server"] = ""


def websocket_frame(opcode: int, body: bytes) -> bytes:
    """Encode a final frame of a client, masked with zeros."""
    size = len(body)
    if size < 126:
        length = struct.pack("!B", 0x80 | size)
    elif size < 1 << 16:
        length = struct.pack("!BH", 0x80 | 126, size)
    else:
        length = struct.pack("!BQ", 0x80 | 127, size)
    return bytes([0x80 | opcode]) + length + bytes(4) + body


def _close_reason(received: bytes) -> str:
    """Return the readable part of the end of what a server sent."""
    if closed := _CLOSE_FRAME.search(received):
        return f"{int.from_bytes(closed[1])} {closed[2].decode(errors='replace')}".strip()
    texts = _TEXT.findall(received)
    return texts[-1].decode() if texts else "nothing"
