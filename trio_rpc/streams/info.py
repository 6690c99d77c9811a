"""What a stream is about, and the headers that say so."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final
from uuid import uuid4

from attrs import Factory, frozen
from livekit.protocol import models

DataStream = models.DataStream

TEXT_MIME_TYPE: Final = "text/plain"
BYTES_MIME_TYPE: Final = "application/octet-stream"


def now_ms() -> int:
    """The time as headers give it: milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@frozen(kw_only=True)
class BaseStreamInfo:
    """What texts and bytes have in common.

    Attributes:
        stream_id: The id of the stream, unique among all streams.
        mime_type: What the content is.
        topic: What it is about, for the receivers to tell by.
        timestamp: When it was begun, in milliseconds since 1970.
        size: How many bytes it has, uncompressed; None when the sender did not know.
        attributes: Texts that go with it, by key.
    """

    mime_type: str
    topic: str = ""
    size: int | None = None
    attributes: dict[str, str] = Factory(dict[str, str])
    stream_id: str = Factory(lambda: str(uuid4()))
    timestamp: int = Factory(now_ms)

    def _base_header(self) -> models.DataStream.Header:
        header = DataStream.Header(
            stream_id=self.stream_id,
            timestamp=self.timestamp,
            topic=self.topic,
            mime_type=self.mime_type,
            attributes=self.attributes,
        )
        if self.size is not None:
            header.total_length = self.size
        return header


@frozen(kw_only=True)
class TextStreamInfo(BaseStreamInfo):
    """What a stream of text is about.

    Attributes:
        attachments: The ids of streams of bytes that belong to it.
        reply_to_stream_id: The id of the stream that it answers, or `""`.
    """

    mime_type: str = TEXT_MIME_TYPE
    attachments: Sequence[str] = ()
    reply_to_stream_id: str = ""

    def header(self) -> models.DataStream.Header:
        """The same as LiveKit's protobuf."""
        header = self._base_header()
        header.text_header.CopyFrom(
            DataStream.TextHeader(
                operation_type=DataStream.OperationType.CREATE,
                attached_stream_ids=self.attachments,
                reply_to_stream_id=self.reply_to_stream_id,
            )
        )
        return header


@frozen(kw_only=True)
class ByteStreamInfo(BaseStreamInfo):
    """What a stream of bytes is about.

    Attributes:
        name: The name of the file, or of whatever it is.
    """

    mime_type: str = BYTES_MIME_TYPE
    name: str = "unknown"

    def header(self) -> models.DataStream.Header:
        """The same as LiveKit's protobuf."""
        header = self._base_header()
        header.byte_header.name = self.name
        return header


def stream_info(header: models.DataStream.Header) -> TextStreamInfo | ByteStreamInfo | None:
    """What a received header says, or None where it says neither text nor bytes."""
    base: dict[str, Any] = {
        "stream_id": header.stream_id,
        "mime_type": header.mime_type,
        "topic": header.topic,
        "timestamp": header.timestamp,
        "size": header.total_length if header.HasField("total_length") else None,
        "attributes": dict(header.attributes),
    }
    match header.WhichOneof("content_header"):
        case "text_header":
            text = header.text_header
            return TextStreamInfo(
                attachments=tuple(text.attached_stream_ids),
                reply_to_stream_id=text.reply_to_stream_id,
                **base,
            )
        case "byte_header":
            return ByteStreamInfo(name=header.byte_header.name, **base)
        case _:
            return None
