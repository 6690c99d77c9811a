"""Data streams, packet by packet: what a peer says, and what a participant said."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final

from attrs import define, field
from livekit.protocol import models

from trio_rpc.links import Channel

from .scripted_peer import ScriptedPeer
from .scripted_server import ScriptedServer, participant_info

DataStream = models.DataStream
CompressionType = DataStream.CompressionType

DEFLATE_RAW: Final = models.ClientInfo.CAP_COMPRESSION_DEFLATE_RAW
#: What trio_rpc announces for the cancelling of invocations.
CANCELLATION: Final = 7201
#: What a chunk holds at the most, and a packet with inline content.
MAX_CHUNK: Final = 15_000

REQUEST_TOPIC: Final = "lk.rpc_request"
RESPONSE_TOPIC: Final = "lk.rpc_response"


# Participants


def peer(
    identity: str, client_protocol: int = 2, capabilities: Iterable[int] = (DEFLATE_RAW,)
) -> models.ParticipantInfo:
    """Return the description of a participant, by default as capable as LiveKit's latest SDKs."""
    return participant_info(
        identity, client_protocol=client_protocol, capabilities=tuple(capabilities)
    )


def server_with(*others: models.ParticipantInfo, **options: Any) -> ScriptedServer:
    """Return a server with these participants in the room, besides ourselves."""
    server = ScriptedServer(others=(), **options)
    server.join.other_participants.extend(others)
    return server


# Packets of a peer


def deflated(content: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(content) + compressor.flush()


def inflated(content: bytes) -> bytes:
    decompressor = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    whole = decompressor.decompress(content)
    assert decompressor.eof
    assert decompressor.unused_data == b""
    return whole


def text_header(stream_id: str = "S", **fields: Any) -> models.DataStream.Header:
    """Return the header of a text stream; `fields` are those of the header in protobuf."""
    return DataStream.Header(
        stream_id=stream_id,
        text_header=DataStream.TextHeader(),
        **{"topic": "notes", "mime_type": "text/plain"} | fields,
    )


def byte_header(
    stream_id: str = "S", name: str = "a.bin", **fields: Any
) -> models.DataStream.Header:
    """Return the header of a byte stream; otherwise as `text_header`."""
    return DataStream.Header(
        stream_id=stream_id,
        byte_header=DataStream.ByteHeader(name=name),
        **{"topic": "notes", "mime_type": "application/octet-stream"} | fields,
    )


def send_header(
    server: ScriptedServer, header: models.DataStream.Header, sender: str = "bob"
) -> None:
    server.send_from(sender, stream_header=header)


def send_chunk(
    server: ScriptedServer, index: int, content: bytes, *, stream_id: str = "S", sender: str = "bob"
) -> None:
    chunk = DataStream.Chunk(stream_id=stream_id, chunk_index=index, content=content)
    server.send_from(sender, stream_chunk=chunk)


def send_trailer(
    server: ScriptedServer, *, reason: str = "", stream_id: str = "S", sender: str = "bob"
) -> None:
    server.send_from(sender, stream_trailer=DataStream.Trailer(stream_id=stream_id, reason=reason))


def send_stream(
    server: ScriptedServer,
    header: models.DataStream.Header,
    chunks: Iterable[bytes] = (),
    *,
    reason: str = "",
    sender: str = "bob",
) -> None:
    """Send a whole stream: header, chunks and trailer."""
    send_header(server, header, sender)
    for index, content in enumerate(chunks):
        send_chunk(server, index, content, stream_id=header.stream_id, sender=sender)
    send_trailer(server, reason=reason, stream_id=header.stream_id, sender=sender)


def request_attributes(
    request_id: str = "1", method: str = "greet", timeout_ms: object = 5_000, version: object = 2
) -> dict[str, str]:
    return {
        "lk.rpc_request_id": request_id,
        "lk.rpc_request_method": method,
        "lk.rpc_request_response_timeout_ms": str(timeout_ms),
        "lk.rpc_request_version": str(version),
    }


def request_header(
    request_id: str = "1",
    *,
    attributes: dict[str, str] | None = None,
    content: bytes | None = b"hi",
    **fields: Any,
) -> models.DataStream.Header:
    """Return the header of a request stream, inline unless `content` is None.

    What is in `fields` and makes an attribute goes there: `method`, `timeout_ms`, `version`.
    """
    names = {"method", "timeout_ms", "version"} & fields.keys()
    options = {name: fields.pop(name) for name in names}
    if content is not None:
        fields = {"inline_content": content, "total_length": len(content)} | fields
    if attributes is None:
        attributes = request_attributes(request_id, **options)
    return text_header(
        f"request {request_id}", topic=REQUEST_TOPIC, attributes=attributes, **fields
    )


def response_header(
    request_id: str, content: bytes | None = b"hello", **fields: Any
) -> models.DataStream.Header:
    """Return the header of a response stream, inline unless `content` is None."""
    if content is not None:
        fields = {"inline_content": content, "total_length": len(content)} | fields
    return text_header(
        f"response {request_id}",
        topic=RESPONSE_TOPIC,
        attributes={"lk.rpc_request_id": request_id},
        **fields,
    )


# Packets of the participant


@define
class SentStream:
    """A stream that was sent: whole, or as far as it came."""

    packets: list[models.DataPacket] = field(factory=list)

    @property
    def header(self) -> models.DataStream.Header:
        return self.packets[0].stream_header

    @property
    def chunks(self) -> list[models.DataStream.Chunk]:
        return [each.stream_chunk for each in self.packets if each.HasField("stream_chunk")]

    @property
    def trailer(self) -> models.DataStream.Trailer | None:
        last = self.packets[-1]
        return last.stream_trailer if last.HasField("stream_trailer") else None

    @property
    def is_inline(self) -> bool:
        return self.header.HasField("inline_content")

    @property
    def is_deflated(self) -> bool:
        return self.header.compression == CompressionType.DEFLATE_RAW

    @property
    def form(self) -> str:
        """In short: `inline`, `chunked`, and whether it is `deflated`."""
        form = "inline" if self.is_inline else "chunked"
        return f"{form}, deflated" if self.is_deflated else form

    @property
    def content(self) -> bytes:
        raw = b"".join(each.content for each in self.chunks)
        if self.is_inline:
            raw = self.header.inline_content
        return inflated(raw) if self.is_deflated else raw

    @property
    def attributes(self) -> dict[str, str]:
        return dict(self.header.attributes)

    @property
    def destinations(self) -> set[tuple[str, ...]]:
        """The destinations that the packets name; a single element if all name the same."""
        return {tuple(each.destination_identities) for each in self.packets}

    def check(self) -> None:
        """Check everything that holds for each complete stream (S4)."""
        assert self.header.total_length == len(self.content)
        if self.is_inline:
            assert len(self.packets) == 1
            assert self.packets[0].ByteSize() <= MAX_CHUNK
            return
        stream_id = self.header.stream_id
        assert [each.chunk_index for each in self.chunks] == list(range(len(self.chunks)))
        assert {each.stream_id for each in self.chunks} <= {stream_id}
        assert all(1 <= len(each.content) <= MAX_CHUNK for each in self.chunks)
        assert self.trailer is not None
        assert (self.trailer.stream_id, self.trailer.reason) == (stream_id, "")


async def receive_stream(peer: ScriptedPeer[Any]) -> SentStream:
    """Receive the packets of a stream, which are the next packets; signalling is passed over."""
    return await _collect_stream(peer.receive_packet)


async def expect_stream(peer: ScriptedPeer[Any]) -> SentStream:
    """Receive the next messages, which must be a stream to its trailer, or with inline content."""
    return await _collect_stream(partial(peer.expect_packet, channel=Channel.RELIABLE))


async def _collect_stream(next_packet: Callable[[], Awaitable[models.DataPacket]]) -> SentStream:
    stream = SentStream()
    while not stream.packets or not (stream.is_inline or stream.trailer):
        packet = await next_packet()
        kind = packet.WhichOneof("value")
        assert kind == "stream_header" if not stream.packets else kind != "stream_header", packet
        assert kind in {"stream_header", "stream_chunk", "stream_trailer"}, packet
        stream.packets.append(packet)
    return stream


async def expect_whole_stream(peer: ScriptedPeer[Any]) -> SentStream:
    """Receive the next messages, which must be a stream that complies with S4 and S5."""
    stream = await expect_stream(peer)
    stream.check()
    return stream
