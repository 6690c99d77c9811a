"""A server, two participants who call each other, and a process that misbehaves when told to."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import define, field
from livekit.protocol import rtc

from trio_rpc import Room

from ..support.tokens import make_token
from .contestants import ours
from .contestants.base import Control
from .crowded import upgrade_request

_BACKEND: Final = "trio"
_TRICKLING: Final = 50
_TRICKLE_INTERVAL: Final = 0.05
_IDLE: Final = 1_000
_FLOOD_BYTES: Final = 60_000
_FLOOD_INTERVAL: Final = 0.005
_PAUSE: Final = 0.1
_SMALL_BUFFER: Final = 4_096
#: Text, without the length of the record that it is in, whose last byte may look like text.
_TEXT: Final = re.compile(rb"(?:\0\0\0.)?([ -~]{12,})", re.DOTALL)
_CLOSE_FRAME: Final = re.compile(rb"\x88[\x02-\x7d]([\x03\x0f].)([ -~]*)$", re.DOTALL)

#: By link, what announces a message of 4 GB, and of 10 KB; on a WebSocket, a client's is masked.
_GIANT: Final = {
    "websocket": b"\x82\xff" + struct.pack("!QI", 1 << 32, 0),
    "tcp": struct.pack("!BI", 3, 0xFFFF_FFFF),
}
_ORDINARY: Final = {
    "websocket": b"\x82\xfe" + struct.pack("!HI", 10_000, 0),
    "tcp": struct.pack("!BI", 3, 10_000),
}


def server(control: Control, *, link: str) -> None:
    ours.server(control, link=link, backend=_BACKEND)


def callee(control: Control, *, link: str) -> None:
    ours.callee(control, link=link, backend=_BACKEND)


def caller(control: Control, *, link: str) -> None:
    ours.caller(control, link=link, backend=_BACKEND)


def bad(control: Control, *, link: str) -> None:
    """Misbehave in the way that is asked for, until told to stop; then say what it was told."""

    async def main() -> None:
        control.ready()
        while command := await asyncio.to_thread(control.next_command):
            peer = BadPeer(control.address, link)
            behaviour: asyncio.Task[None] = asyncio.create_task(
                BEHAVIOURS[command["behaviour"]](peer)
            )
            control.say()
            await asyncio.to_thread(control.next_command)
            behaviour.cancel()
            await asyncio.wait([behaviour])
            control.say(told=peer.told.most_common(3))

    asyncio.run(main())


@define(eq=False)
class BadPeer:
    """Somebody who means no good.

    Attributes:
        told: What the server said when it ended a connection, and how often.
    """

    url: str
    link: str
    told: Counter[str] = field(factory=Counter)
    _names: int = 0

    def hello(self, identity: str) -> bytes:
        """What joining begins with."""
        token = make_token(identity)
        if self.link == "websocket":
            return upgrade_request(urlsplit(self.url).netloc, token)
        body = token.encode() + b"\n" + rtc.JoinRequest().SerializeToString()
        return b"trio-rpc.v1\n" + struct.pack("!BI", 1, len(body)) + body

    @asynccontextmanager
    async def connection(
        self, receive_buffer: int | None = None
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection without a word so far."""
        parts = urlsplit(self.url)
        connection = socket.socket()
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, (parts.hostname, parts.port))
        reader, writer = await asyncio.open_connection(sock=connection, limit=_SMALL_BUFFER)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    @asynccontextmanager
    async def joined(
        self, identity: str, receive_buffer: int | None = None
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection of somebody who has joined, and has read what came first."""
        async with self.connection(receive_buffer) as (reader, writer):
            writer.write(self.hello(identity))
            await reader.read(100)
            yield reader, writer

    async def listen(self, reader: asyncio.StreamReader) -> None:
        """Hear what the server says until it ends the connection, or nobody listens any more."""
        last, ended = b"", False
        try:
            while piece := await reader.read(65_536):
                last = (last + piece)[-500:]
            ended = True
        except ConnectionError:
            ended = True
        finally:
            if ended:
                self.told[_last_words(last)] += 1
            elif _CLOSE_FRAME.search(last):
                self.told[f"{_last_words(last)}, and may stay connected"] += 1


def _last_words(received: bytes) -> str:
    """The end of what a server said, as far as a person can read it."""
    if closed := _CLOSE_FRAME.search(received):
        return f"{int.from_bytes(closed[1])} {closed[2].decode(errors='replace')}".strip()
    texts = _TEXT.findall(received)
    return texts[-1].decode() if texts else "nothing"


async def never_read(peer: BadPeer) -> None:
    """Join and read nothing, while a partner sends data to the one who does not."""
    flooder, gone = Room(), asyncio.Event()
    flooder.on("participant_disconnected", lambda _participant: gone.set())

    async def flood() -> None:
        while True:
            await flooder.local_participant.publish_data(
                bytes(_FLOOD_BYTES), destination_identities=["deaf"]
            )
            await asyncio.sleep(_FLOOD_INTERVAL)

    async with (
        flooder.connect(peer.url, make_token("flooder")),
        asyncio.TaskGroup() as task_group,
    ):
        task_group.create_task(flood())
        while True:
            async with peer.joined("deaf", receive_buffer=_SMALL_BUFFER) as (reader, _):
                await flooder.wait_for_participant("deaf")
                await gone.wait()
                gone.clear()
                await peer.listen(reader)


async def trickle(peer: BadPeer) -> None:
    """Send a byte at a time: a request to join on some connections, a message on others."""

    async def dribble(number: int) -> None:
        while True:
            async with peer.connection() as (reader, writer), asyncio.TaskGroup() as task_group:
                dribbled = peer.hello(f"trickler {number}")
                if number % 2:
                    writer.write(dribbled)
                    await reader.read(100)
                    dribbled = _ORDINARY[peer.link] + bytes(10_000)
                listening = task_group.create_task(peer.listen(reader))
                for byte in dribbled:
                    writer.write(bytes([byte]))
                    await asyncio.sleep(_TRICKLE_INTERVAL)
                    if listening.done():
                        break
                listening.cancel()
            await asyncio.sleep(_PAUSE)

    async with asyncio.TaskGroup() as task_group:
        for number in range(_TRICKLING):
            task_group.create_task(dribble(number))


async def announce_4_gb(peer: BadPeer) -> None:
    """Join, announce a message of 4 GB, and begin to send it."""
    while True:
        async with peer.joined("giant") as (reader, writer), asyncio.TaskGroup() as task_group:
            listening = task_group.create_task(peer.listen(reader))
            writer.write(_GIANT[peer.link])
            with suppress(ConnectionError):
                while not listening.done():
                    writer.write(bytes(_FLOOD_BYTES))
                    await writer.drain()
                    await asyncio.sleep(_FLOOD_INTERVAL)
        await asyncio.sleep(_PAUSE)


async def open_a_thousand_links(peer: BadPeer) -> None:
    """Open connections and say nothing."""

    async def idle() -> None:
        async with peer.connection() as (reader, _):
            await peer.listen(reader)

    async with asyncio.TaskGroup() as task_group:
        for _ in range(_IDLE):
            task_group.create_task(idle())


BEHAVIOURS: Final[dict[str, Callable[[BadPeer], Coroutine[Any, Any, None]]]] = {
    "never reads": never_read,
    "trickles": trickle,
    "announces 4 GB": announce_4_gb,
    "opens 1,000 links": open_a_thousand_links,
}
