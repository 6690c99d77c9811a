"""Attacks of a caller on its callee, the victim."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from itertools import count
from typing import Any, Final

from livekit.protocol import models

from trio_rpc.protocol.limits import MAX_TIMEOUT_MS
from trio_rpc.protocol.rpc_messages import rpc_cancellation
from trio_rpc.protocol.stream_content import DEFAULT_MAX_STREAM_BYTES

from ...support.stream_packets import deflated, request_header
from .base import VICTIM, Attack, Attacker, Connection

DataStream = models.DataStream

_BATCH: Final = 100
_CHUNK_BYTES: Final = 15_000
_INFLATED_BYTES: Final = DEFAULT_MAX_STREAM_BYTES
_WAITING: Final = 30_000
_CANCELS: Final = 500
#: Seconds between floods of waiting requests: the honest get some time between.
_FLOOD_PAUSE: Final = 0.2


def _request(request_id: str, method: str, payload: str = "", **fields: int) -> models.DataPacket:
    request = models.RpcRequest(
        id=request_id,
        method=method,
        payload=payload,
        version=1,
        response_timeout_ms=fields.get("timeout_ms", 5_000),
    )
    return models.DataPacket(destination_identities=[VICTIM], rpc_request=request)


async def duplicate_ids(attacker: Attacker) -> None:
    """Send each request three times, twice in one message."""
    numbers = count()

    async def act(connection: Connection) -> None:
        names = [str(next(numbers)) for _ in range(_BATCH)]
        await connection.send_packets(
            *(_request(name, "pause") for name in names for _ in range(2))
        )
        await connection.send_packets(*(_request(name, "pause") for name in names))

    await attacker.keep_joined(act)


async def huge_ids(attacker: Attacker) -> None:
    """Send requests whose ids leave no space for an answer."""
    message = attacker.packets([_request("i" * 63_000, "echo")])
    await attacker.keep_joined(lambda connection: connection.send(message))


def _bombs(method: str) -> Callable[[Attacker], Coroutine[Any, Any, None]]:
    async def send_bombs(attacker: Attacker) -> None:
        numbers = count()
        bomb = deflated(bytes(_INFLATED_BYTES))

        async def act(connection: Connection) -> None:
            await connection.send(attacker.packets(_bomb(f"{next(numbers)}", method, bomb)))

        await attacker.keep_joined(act)

    return send_bombs


def _bomb(request_id: str, method: str, content: bytes) -> Iterator[models.DataPacket]:
    header = request_header(
        request_id,
        content=None,
        method=method,
        compression=DataStream.CompressionType.DEFLATE_RAW,
        total_length=_INFLATED_BYTES,
    )
    stream_id = header.stream_id
    yield models.DataPacket(destination_identities=[VICTIM], stream_header=header)
    for index, start in enumerate(range(0, len(content), _CHUNK_BYTES)):
        piece = content[start : start + _CHUNK_BYTES]
        chunk = DataStream.Chunk(stream_id=stream_id, chunk_index=index, content=piece)
        yield models.DataPacket(destination_identities=[VICTIM], stream_chunk=chunk)
    trailer = DataStream.Trailer(stream_id=stream_id)
    yield models.DataPacket(destination_identities=[VICTIM], stream_trailer=trailer)


async def waiting_requests(attacker: Attacker) -> None:
    """Send requests that take 49 days, far more than run; then cancel them, the newest first."""
    numbers = count()

    async def act(connection: Connection) -> None:
        names = [str(next(numbers)) for _ in range(_WAITING)]
        for start in range(0, _WAITING, _CANCELS):
            some = names[start : start + _CANCELS]
            await connection.send_packets(
                *(_request(name, "hang", timeout_ms=MAX_TIMEOUT_MS) for name in some)
            )
        names.reverse()
        for start in range(0, _WAITING, _CANCELS):
            some = names[start : start + _CANCELS]
            await connection.send_packets(*(rpc_cancellation(VICTIM, name) for name in some))
        await asyncio.sleep(_FLOOD_PAUSE)

    await attacker.keep_joined(act)


async def requests_of_10_kb(attacker: Attacker) -> None:
    """Send requests faster than the victim can answer, which reads as fast as it can."""
    numbers, payload = count(), "x" * 10_000

    async def act(connection: Connection) -> None:
        await connection.send_packets(
            *(_request(str(next(numbers)), "echo", payload) for _ in range(_BATCH // 20))
        )

    await attacker.keep_joined(act)


ATTACKS: Final = {
    "duplicate ids": Attack(duplicate_ids),
    "huge ids": Attack(huge_ids),
    "bombs to a method": Attack(_bombs("echo")),
    "bombs to no method": Attack(_bombs("nobody registered this")),
    "waiting requests": Attack(waiting_requests),
    "requests of 10 KB": Attack(requests_of_10_kb, ("websocket", "tcp")),
}
