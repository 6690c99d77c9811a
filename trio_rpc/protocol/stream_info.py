"""The description of a stream, and its form in headers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from attrs import Factory, frozen
from livekit.protocol import models

from .ids import make_uuid

DataStream = models.DataStream

TEXT_MIME_TYPE: Final = "text/plain"
BYTES_MIME_TYPE: Final = "application/octet-stream"


def now_ms() -> int:
    """Return the time as headers give it: milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@frozen(kw_only=True)
class BaseStreamInfo:
    """The common part of the descriptions of texts and of bytes.

    Attributes:
        stream_id: The id of the stream, unique among all streams.
        mime_type: The type of the content.
        topic: The topic, by which receivers choose a handler.
        timestamp: The time of its beginning, in milliseconds since 1970.
        size: The size in bytes, uncompressed; None when the sender did not know it.
        attributes: Texts that go with it, by key.
    """

    mime_type: str
    topic: str = ""
    size: int | None = None
    attributes: dict[str, str] = Factory(dict[str, str])
    stream_id: str = Factory(make_uuid)
    timestamp: int = Factory(now_ms)

    def _write_base(self, header: models.DataStream.Header) -> None:
        # Field by field, in place: building a header apart and copying it costs twice as much.
        header.stream_id = self.stream_id
        header.timestamp = self.timestamp
        header.topic = self.topic
        header.mime_type = self.mime_type
        if self.size is not None:
            header.total_length = self.size
        attributes = header.attributes
        for key, value in self.attributes.items():
            attributes[key] = value


@frozen(kw_only=True)
class TextStreamInfo(BaseStreamInfo):
    """The description of a stream of text.

    Attributes:
        attachments: The ids of streams of bytes that belong to it.
        reply_to_stream_id: The id of the stream that it answers, or `""`.
    """

    mime_type: str = TEXT_MIME_TYPE
    attachments: Sequence[str] = ()
    reply_to_stream_id: str = ""

    def write(self, header: models.DataStream.Header) -> None:
        """Write this into the header of a packet."""
        self._write_base(header)
        text = header.text_header
        text.SetInParent()
        text.attached_stream_ids.extend(self.attachments)
        text.reply_to_stream_id = self.reply_to_stream_id


@frozen(kw_only=True)
class ByteStreamInfo(BaseStreamInfo):
    """The description of a stream of bytes.

    Attributes:
        name: The name of the file or other content.
    """

    mime_type: str = BYTES_MIME_TYPE
    name: str = "unknown"

    def write(self, header: models.DataStream.Header) -> None:
        """Write this into the header of a packet."""
        self._write_base(header)
        header.byte_header.name = self.name


def stream_info(header: models.DataStream.Header) -> TextStreamInfo | ByteStreamInfo | None:
    """Return the description in a received header; None if it is neither of text nor of bytes."""
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
