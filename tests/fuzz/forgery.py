"""Packets and signalling that a hostile participant sends, made from choices.

Most are almost right, so that they get deep into the code: known methods and topics, ids of calls
that are in flight, streams whose pieces fit together but for one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from livekit.protocol import metrics, models, rtc

from trio_rpc.links import Channel, Frame

from ..support.stream_packets import REQUEST_TOPIC, RESPONSE_TOPIC
from .choices import Choices

DataStream = models.DataStream
Compression = DataStream.CompressionType

CANCELLATION_TOPIC: Final = "trio_rpc.cancel"
METHODS: Final = ("echo", "slow", "refuse", "ask_back", "plain", "nobody's", "")
TOPICS: Final = ("texts", "bytes", REQUEST_TOPIC, RESPONSE_TOPIC, "nobody's", "")
_IDS: Final = (
    *("1", "2", "3", "4", "5", "6", "", "é"),
    *("x" * length for length in (128, 129, 256, 257, 20_000, 63_600)),
)
_ATTRIBUTES: Final = (
    "lk.rpc_request_id",
    "lk.rpc_request_method",
    "lk.rpc_request_response_timeout_ms",
    "lk.rpc_request_version",
    "another",
)


class Forger:
    """The packets and requests of one hostile participant.

    Args:
        identities: Everybody there might be.
        ids: Ids of requests that were seen in flight; more may come.
    """

    def __init__(self, choices: Choices, identities: Sequence[str], ids: list[str]) -> None:
        self._choices = choices
        self._identities = identities
        self._ids = ids
        # Its streams that are not at their end: the compression and the next index of each
        self._open: dict[str, tuple[int, int]] = {}

    # Packets

    def packets(self) -> Iterator[models.DataPacket]:
        """Make one packet, or the few that a stream consists of."""
        choices = self._choices
        packet = models.DataPacket(destination_identities=self._destinations())
        match choices.below(12):
            case 0 | 1:
                packet.rpc_request.CopyFrom(self._request())
            case 2:
                packet.rpc_ack.request_id = self._id()
            case 3 | 4:
                packet.rpc_response.CopyFrom(self._response())
            case 5:
                packet.user.CopyFrom(self._user())
            case 6:
                packet.stream_header.CopyFrom(self._header())
            case 7:
                packet.stream_chunk.CopyFrom(self._chunk())
            case 8:
                packet.stream_trailer.CopyFrom(self._trailer())
            case 9 | 10:
                yield from self._stream(packet.destination_identities)
                return
            case _:
                self._another_kind(packet)
        if choices.below(8) == 7:
            packet.sequence = choices.number()
        if choices.below(8) == 7:
            packet.participant_identity = choices.one_of(self._identities)
            packet.participant_sid = choices.text()[:100]
        yield packet

    def _destinations(self) -> list[str]:
        choices = self._choices
        count = choices.one_of((1, 1, 1, 1, 1, 0, 2, 3))
        names = [choices.one_of(self._identities) for _ in range(count)]
        if count == 3 and choices.flag():
            names += [f"nobody {number}" for number in range(4 * choices.byte())]
        return names

    def _id(self) -> str:
        pool = (*self._ids[-4:], *_IDS)
        return self._choices.one_of(pool)

    def _request(self) -> models.RpcRequest:
        choices = self._choices
        return models.RpcRequest(
            id=self._id(),
            method=choices.one_of(METHODS),
            payload=choices.text(),
            response_timeout_ms=choices.one_of((5_000, choices.number())),
            version=choices.one_of((1, 1, 1, 2, choices.number())),
        )

    def _response(self) -> models.RpcResponse:
        choices = self._choices
        response = models.RpcResponse(request_id=self._id())
        match choices.below(4):
            case 0 | 1:
                response.payload = choices.text()
            case 2:
                response.error.code = choices.number()
                response.error.message = choices.text()
                response.error.data = choices.text()
            case _:
                pass
        return response

    def _user(self) -> models.UserPacket:
        choices = self._choices
        if choices.flag():
            return models.UserPacket(payload=self._id().encode(), topic=CANCELLATION_TOPIC)
        user = models.UserPacket(payload=choices.content())
        if choices.flag():
            user.topic = choices.one_of((*TOPICS, CANCELLATION_TOPIC))
        if choices.flag():
            user.destination_identities.append(choices.one_of(self._identities))
        return user

    def _another_kind(self, packet: models.DataPacket) -> None:
        choices = self._choices
        match choices.below(6):
            case 0:
                packet.sip_dtmf.code = choices.number()
                packet.sip_dtmf.digit = choices.text()
            case 1:
                packet.transcription.transcribed_participant_identity = choices.one_of(
                    self._identities
                )
                packet.transcription.segments.add(text=choices.text(), final=choices.flag())
            case 2:
                packet.chat_message.message = choices.text()
            case 3:
                packet.metrics.CopyFrom(metrics.MetricsBatch(str_data=[choices.text()]))
            case 4:
                packet.encrypted_packet.encrypted_value = choices.content()
            case _:
                packet.kind = models.DataPacket.LOSSY

    # Streams

    def _stream_id(self) -> str:
        return self._choices.one_of((*self._open, "S", "T", *_IDS))

    def _header(self) -> models.DataStream.Header:
        choices = self._choices
        topic = choices.one_of(TOPICS)
        header = DataStream.Header(
            stream_id=self._stream_id(),
            topic=topic,
            mime_type=choices.one_of(("text/plain", choices.text())),
            timestamp=choices.number(),
            attributes=self._attributes(topic),
        )
        match choices.below(8) if topic != "bytes" else 6:
            case 6:
                header.byte_header.name = choices.text()
            case 7:
                pass
            case _:
                header.text_header.SetInParent()
                if choices.below(8) == 7:
                    header.text_header.attached_stream_ids.append(choices.text())
        compression = choices.one_of((0, 0, 0, 1, 1, 7))
        header.compression = compression  # type: ignore[assignment]
        if choices.below(3) == 2:
            header.inline_content = self._content(compression)
        match choices.below(4):
            case 2:
                header.total_length = len(header.inline_content)
            case 3:
                header.total_length = choices.number() << choices.below(33)
            case _:
                pass
        self._open[header.stream_id] = compression, 0
        return header

    def _attributes(self, topic: str) -> dict[str, str]:
        choices = self._choices
        attributes: dict[str, str] = {}
        if topic == REQUEST_TOPIC:
            timeout = choices.one_of(("5000", "5000", "0", "1", "-1", "4294967296", "٣"))
            version = choices.one_of(("2", "2", "2", "1", "", "22222222222222222222"))
            values = (self._id(), choices.one_of(METHODS), timeout, version)
            attributes = dict(zip(_ATTRIBUTES, values, strict=False))
        elif topic == RESPONSE_TOPIC:
            attributes = {_ATTRIBUTES[0]: self._id()}
        match choices.below(16):
            case 13:
                attributes |= {f"{number}": "x" for number in range(choices.byte() * 4)}
            case 14:
                attributes[choices.one_of(_ATTRIBUTES)] = choices.text()
            case 15:
                attributes.pop(choices.one_of(_ATTRIBUTES), None)
            case _:
                pass
        return attributes

    def _content(self, compression: int) -> bytes:
        choices = self._choices
        return choices.deflated() if compression else choices.content()

    def _chunk(self) -> models.DataStream.Chunk:
        choices = self._choices
        stream_id = self._stream_id()
        compression, index = self._open.get(stream_id, (0, 0))
        if choices.below(8) == 7:
            index = choices.number()
        self._open[stream_id] = compression, index + 1
        content = self._content(compression)
        return DataStream.Chunk(stream_id=stream_id, chunk_index=index, content=content)

    def _trailer(self) -> models.DataStream.Trailer:
        choices = self._choices
        stream_id = self._stream_id()
        self._open.pop(stream_id, None)
        reason = choices.text() if choices.below(4) == 3 else ""
        attributes = {choices.text(): choices.text()} if choices.below(8) == 7 else {}
        return DataStream.Trailer(stream_id=stream_id, reason=reason, attributes=attributes)

    def _stream(self, destinations: Sequence[str]) -> Iterator[models.DataPacket]:
        """Make a stream whose packets fit together, or almost."""
        choices = self._choices
        header = self._header()
        header.ClearField("inline_content")
        content = self._content(header.compression)
        if choices.flag():
            header.ClearField("total_length")
        spoiled = choices.byte()
        count = 1 + choices.below(4)
        size = len(content) // count + 1
        yield models.DataPacket(destination_identities=destinations, stream_header=header)
        for index in range(count):
            chunk = DataStream.Chunk(
                stream_id=header.stream_id,
                chunk_index=index + (spoiled == index),
                content=content[index * size : (index + 1) * size],
            )
            yield models.DataPacket(
                destination_identities=() if spoiled == 8 else destinations, stream_chunk=chunk
            )
        trailer = DataStream.Trailer(stream_id=header.stream_id)
        yield models.DataPacket(destination_identities=destinations, stream_trailer=trailer)

    def stream_packets(self) -> Iterator[models.DataPacket]:
        """Make packets of streams alone."""
        match self._choices.below(4):
            case 0:
                yield models.DataPacket(stream_header=self._header())
            case 1:
                yield models.DataPacket(stream_chunk=self._chunk())
            case 2:
                yield models.DataPacket(stream_trailer=self._trailer())
            case _:
                yield from self._stream(())

    # Signalling

    def signal(self) -> bytes:
        """Make a `SignalRequest`, or bytes that are none."""
        choices = self._choices
        request = rtc.SignalRequest()
        match choices.below(9):
            case 0 | 1 | 2:
                update = request.update_metadata
                update.name, update.metadata = choices.text(), choices.text()
                update.request_id = choices.number()
                for _ in range(choices.below(4)):
                    update.attributes[choices.text()] = choices.text()
            case 3:
                request.ping_req.timestamp = choices.number()
            case 4:
                request.ping = choices.number()
            case 5:
                request.leave.SetInParent()
            case 6:
                request.add_track.name = choices.text()
            case 7:
                request.publish_data_track_request.SetInParent()
            case _:
                return choices.content()
        return request.SerializeToString()

    def frames(self) -> Iterator[Frame]:
        """Make a packet or a stream, signalling, or garbage."""
        choices = self._choices
        match choices.below(8):
            case 6:
                yield Frame(Channel.SIGNAL, self.signal())
            case 7:
                yield Frame(choices.one_of(tuple(Channel)), choices.content())
            case kind:
                channel = Channel.LOSSY if kind == 5 else Channel.RELIABLE
                for packet in self.packets():
                    yield Frame(channel, packet.SerializeToString())


def seen_ids(frame: Frame) -> list[str]:
    """Return the id of the request that a frame holds, if it holds one."""
    if frame.channel is Channel.SIGNAL:
        return []
    packet = models.DataPacket.FromString(frame.body)
    ids = (packet.rpc_request.id, packet.stream_header.attributes.get(_ATTRIBUTES[0], ""))
    return [each for each in ids if each]
