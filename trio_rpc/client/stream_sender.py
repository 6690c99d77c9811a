"""Sending data streams: the part of `LocalParticipant` for texts, files and bytes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from livekit.protocol import models

from ..errors import StreamError
from ..participant import Participant
from ..protocol.ids import make_uuid
from ..protocol.limits import utf8_length
from ..protocol.stream_info import BYTES_MIME_TYPE
from ..streams import (
    ByteStreamInfo,
    ByteStreamWriter,
    StreamOpening,
    TextStreamInfo,
    TextStreamWriter,
)
from ..streams.outgoing import OnProgress, OutgoingStreams
from .outbound import Outbound


class StreamSender(Participant):
    """A participant that sends data streams."""

    def __init__(self, info: models.ParticipantInfo, outbound: Outbound) -> None:
        super().__init__(info)
        self._outbound = outbound

    async def send_text(
        self,
        text: str,
        *,
        destination_identities: Sequence[str] | None = None,
        topic: str = "",
        attributes: Mapping[str, str] | None = None,
        reply_to_id: str | None = None,
        compress: bool = True,
    ) -> TextStreamInfo:
        """Send a text of any size.

        Args:
            text: The text.
            destination_identities: The receivers; empty for everybody in the room.
            topic: The topic, by which receivers have handlers.
            attributes: Texts that go with the text, by key.
            reply_to_id: The id of the stream that this text replies to.
            compress: Whether to compress a large text for receivers that can inflate it.

        Raises:
            StreamError: we may not send data, or we are not in the room any more.
        """
        info = TextStreamInfo(
            topic=topic,
            size=utf8_length(text),
            attributes=dict(attributes or {}),
            reply_to_stream_id=reply_to_id or "",
        )
        destinations = identities(destination_identities)
        streams = await self._streams()
        await streams.send_content(info, text, destinations, compress=compress)
        return info

    def stream_text(
        self,
        *,
        destination_identities: Sequence[str] | None = None,
        topic: str = "",
        attributes: Mapping[str, str] | None = None,
        stream_id: str | None = None,
        reply_to_id: str | None = None,
        total_size: int | None = None,
        sender_identity: str | None = None,  # noqa: ARG002
    ) -> StreamOpening[TextStreamWriter]:
        """Open a text stream, to be written piece by piece; otherwise as `send_text`.

            async with local_participant.stream_text(topic="story") as writer:
                await writer.write("Once upon a time, ")

        Args:
            stream_id: The id of the stream, unique among all streams; a random one unless given.
            total_size: The UTF-8 bytes of the whole text, if known.
            sender_identity: Accepted, as in LiveKit's SDK, and without effect: receivers go by the
                identity that the server names (P5).

        Returns:
            An object for `async with` or `await`; see `StreamOpening`.
        """
        info = TextStreamInfo(
            topic=topic,
            size=total_size,
            attributes=dict(attributes or {}),
            stream_id=stream_id or make_uuid(),
            reply_to_stream_id=reply_to_id or "",
        )
        destinations = identities(destination_identities)

        async def open_stream() -> TextStreamWriter:
            streams = await self._streams()
            return await streams.stream_text(info, destinations)

        return StreamOpening(open_stream)

    async def send_file(
        self,
        file_path: str | os.PathLike[str],
        *,
        destination_identities: Sequence[str] | None = None,
        topic: str = "",
        attributes: Mapping[str, str] | None = None,
        stream_id: str | None = None,
        compress: bool = True,  # noqa: ARG002
        on_progress: OnProgress | None = None,
    ) -> ByteStreamInfo:
        """Send a file of any size, a piece at a time.

        Args:
            file_path: The path of the file.
            destination_identities: The receivers; empty for everybody in the room.
            topic: The topic, by which receivers have handlers.
            attributes: Texts that go with the file, by key.
            stream_id: The id of the stream, unique among all streams; a random one unless given.
            compress: Accepted, as in LiveKit's SDK, and without effect: a file is sent as it is, in
                pieces.
            on_progress: Called with the bytes sent so far and the size of the file.

        Raises:
            OSError: the file can't be read.
            StreamError: we may not send data, we are not in the room any more, or the size of
                the file changed meanwhile.
        """
        streams = await self._streams()
        return await streams.send_file(
            file_path,
            destinations=identities(destination_identities),
            topic=topic,
            attributes=attributes or {},
            stream_id=stream_id or make_uuid(),
            on_progress=on_progress,
        )

    async def send_bytes(
        self,
        data: bytes,
        *,
        topic: str = "",
        name: str | None = None,
        mime_type: str | None = None,
        destination_identities: Sequence[str] | None = None,
        attributes: Mapping[str, str] | None = None,
        stream_id: str | None = None,
        compress: bool = True,
    ) -> ByteStreamInfo:
        """Send bytes of any size as a whole: in one packet where they fit.

        Args:
            data: The bytes.
            topic: The topic, by which receivers have handlers.
            name: The name of the content; `"unknown"` unless given.
            mime_type: The MIME type of the content; `"application/octet-stream"` unless given.
            destination_identities: The receivers; empty for everybody in the room.
            attributes: Texts that go with the bytes, by key.
            stream_id: The id of the stream, unique among all streams; a random one unless given.
            compress: Whether to compress much content for receivers that can inflate it.

        Raises:
            StreamError: we may not send data, or we are not in the room any more.
        """
        content = bytes(data)
        info = ByteStreamInfo(
            name=name or "unknown",
            mime_type=mime_type or BYTES_MIME_TYPE,
            topic=topic,
            size=len(content),
            attributes=dict(attributes or {}),
            stream_id=stream_id or make_uuid(),
        )
        destinations = identities(destination_identities)
        streams = await self._streams()
        await streams.send_content(info, content, destinations, compress=compress)
        return info

    def stream_bytes(
        self,
        name: str,
        *,
        destination_identities: Sequence[str] | None = None,
        topic: str = "",
        attributes: Mapping[str, str] | None = None,
        stream_id: str | None = None,
        mime_type: str = BYTES_MIME_TYPE,
        total_size: int | None = None,
    ) -> StreamOpening[ByteStreamWriter]:
        """Open a byte stream, to be written piece by piece.

            async with local_participant.stream_bytes("weights.bin", topic="weights") as writer:
                await writer.write(bytes([12, 15]))

        Args:
            name: The name of the file, or another name.
            destination_identities: The receivers; empty for everybody in the room.
            topic: The topic, by which receivers have handlers.
            attributes: Texts that go with the content, by key.
            stream_id: The id of the stream, unique among all streams; a random one unless given.
            mime_type: The MIME type of the content.
            total_size: The bytes of the whole content, if known.

        Returns:
            An object for `async with` or `await`; see `StreamOpening`.

        Raises:
            StreamError: we may not send data, or we are not in the room any more.
        """
        info = ByteStreamInfo(
            name=name,
            mime_type=mime_type,
            topic=topic,
            size=total_size,
            attributes=dict(attributes or {}),
            stream_id=stream_id or make_uuid(),
        )
        destinations = identities(destination_identities)

        async def open_stream() -> ByteStreamWriter:
            streams = await self._streams()
            return await streams.stream_bytes(info, destinations)

        return StreamOpening(open_stream)

    async def _streams(self) -> OutgoingStreams:
        if (gone := self._outbound.disconnection) is not None:
            await self._outbound.checkpoint()
            raise StreamError(f"not sent: {gone}") from gone
        if denied_reason := self.permissions.publish_denied_reason(self.identity):
            raise StreamError(denied_reason)
        return self._outbound.streams


def identities(destination_identities: Sequence[str] | None) -> Sequence[str]:
    """Return the destinations of a packet, which are not a single `str`.

    Raises:
        TypeError: they are.
    """
    if isinstance(destination_identities, str):
        raise TypeError("destination_identities is a sequence of identities, not one of them")
    return destination_identities or ()
