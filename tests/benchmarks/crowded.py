"""A server with many participants who only are there, and two who call each other."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import urlsplit

from trio_rpc.links.websocket import SUBPROTOCOL
from trio_rpc.server import RoomServer, ServerLimits

from ..support.tokens import API_KEYS, ROOM, make_token
from .contestants import ours
from .contestants.base import Control

_LIMITS: Final = ServerLimits(
    max_participants_per_room=5_000,
    # The crowd is silent.
    ping_interval=1_000,
    ping_timeout=3_000,
)
_BACKEND: Final = "trio"
_JOINS_AT_ONCE: Final = 50


def server(control: Control, **_options: object) -> None:
    ours.serve_rooms(control, RoomServer(API_KEYS, _LIMITS), "websocket", _BACKEND)


def crowd(control: Control, *, members: int, rooms: int, pending: int) -> None:
    """Join so many members, spread over so many rooms; further ones on command."""

    async def main() -> None:
        crowd = []
        for number in range(0, members, _JOINS_AT_ONCE):
            numbers = range(number, min(number + _JOINS_AT_ONCE, members))
            joins = (join(control.address, each, rooms) for each in numbers)
            crowd += await asyncio.gather(*joins)
        control.ready()
        while command := await asyncio.to_thread(control.next_command):
            started = asyncio.get_running_loop().time()
            for _ in range(command["joins"]):
                crowd.append(await join(control.address, len(crowd), rooms))
            control.send(seconds=asyncio.get_running_loop().time() - started)

    asyncio.run(main())


def callee(control: Control, **_options: object) -> None:
    ours.callee(control, link="websocket", backend=_BACKEND)


def caller(control: Control, *, members: int, rooms: int, pending: int) -> None:
    ours.caller(control, link="websocket", backend=_BACKEND, pending=pending)


async def join(url: str, number: int, rooms: int) -> Member:
    """Join as a further participant, beside the two that call if there is only one room."""
    room = ROOM if rooms == 1 else f"room {number % rooms}"
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    joined = loop.create_future()
    token = make_token(f"member {number}", room=room)
    _, member = await loop.create_connection(
        lambda: Member(parts.netloc, token, joined), parts.hostname or "", parts.port or 0
    )
    await joined
    return member


def upgrade_request(host: str, token: str) -> bytes:
    """Return the request that opens a WebSocket."""
    lines = (
        "GET /rtc HTTP/1.1",
        f"Host: {host}",
        f"Authorization: Bearer {token}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
    )
    return "\r\n".join([*lines, "", ""]).encode()


class Member(asyncio.Protocol):
    """A member that joins over a WebSocket and ignores what it receives, at next to no cost."""

    def __init__(self, host: str, token: str, joined: asyncio.Future[None]) -> None:
        self._host = host
        self._token = token
        self._joined = joined
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(upgrade_request(self._host, self._token))

    def data_received(self, data: bytes) -> None:
        if not self._joined.done():
            self._received += data
            head, _, message = self._received.partition(b"\r\n\r\n")
            if message:
                # The server's first message: from then on, it is in the room.
                accepted = head.startswith(b"HTTP/1.1 101 ")
                self._received = b""
                if accepted:
                    self._joined.set_result(None)
                else:
                    self._joined.set_exception(ConnectionError(message.decode()))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._joined.done():
            self._joined.set_exception(exc or EOFError("the server ended the connection"))
