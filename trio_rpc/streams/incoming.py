"""Receiving streams: the open ones, and when one is given up (rules S6 and B5)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from attrs import define
from livekit.protocol import models

from ..concurrency import Backend
from ..errors import DisconnectedError, StreamError
from ..protocol.logs import peer_logger
from ..protocol.stream_assembly import StreamAssembly
from .buffer import StreamBuffer

logger = peer_logger(__name__)

#: Seconds of silence after which a stream is given up.
SILENCE_TIMEOUT: Final = 30.0
#: The streams of one sender that may be open, unless set otherwise (B5).
DEFAULT_MAX_PEER_STREAMS: Final = 1_000
#: The streams of all senders that may be open, unless set otherwise (B5).
DEFAULT_MAX_STREAMS: Final = 10_000
#: The bytes charged for an open stream besides its content.
_OPEN_STREAM_BYTES: Final = 1024

#: Given the sender and the header of a stream, returns the sink for its content; None for no
#: reader.
OpenSink = Callable[[str, models.DataStream.Header], StreamBuffer | None]
#: Called with the sender and the header of a refused stream, and the reason.
OnRefused = Callable[[str, models.DataStream.Header, str], None]


@define(eq=False)
class _OpenStream:
    assembly: StreamAssembly
    buffer: StreamBuffer
    last_received: float


class IncomingStreams:
    """The streams that one session receives.

    Args:
        open_sink: Opens the sink of a stream, where it has a reader.
        on_refused: Called for a stream that would be one too many.
        max_peer_streams: The streams of one sender that may be open.
        max_streams: The streams that may be open in all.
    """

    def __init__(
        self,
        backend: Backend,
        open_sink: OpenSink,
        on_refused: OnRefused,
        *,
        max_peer_streams: int = DEFAULT_MAX_PEER_STREAMS,
        max_streams: int = DEFAULT_MAX_STREAMS,
    ) -> None:
        self._backend = backend
        self._open_sink = open_sink
        self._on_refused = on_refused
        self._max_peer_streams = max_peer_streams
        self._max_streams = max_streams
        # By sender and id
        self._open: dict[str, dict[str, _OpenStream]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def on_header(self, sender: str, header: models.DataStream.Header) -> None:
        """Begin a stream, and end it if its content is inline."""
        if header.HasField("inline_content"):
            self._take_inline(sender, header)
            return
        streams = self._open.get(sender, {})
        if header.stream_id in streams:
            logger.debug("ignored the header of a stream of %s that is open", sender)
        elif len(streams) >= self._max_peer_streams:
            why = f"{len(streams):,} streams of this participant are open, which is the limit"
            self._on_refused(sender, header, f"{why} (max_peer_streams)")
        elif self._count >= self._max_streams:
            why = f"{self._count:,} streams are open, which is the limit"
            self._on_refused(sender, header, f"{why} (max_streams)")
        elif (buffer := self._open_sink(sender, header)) is not None:
            self._begin(sender, header, buffer)

    def _take_inline(self, sender: str, header: models.DataStream.Header) -> None:
        if header.stream_id in self._open.get(sender, ()):
            logger.debug("ignored the header of a stream of %s that is open", sender)
            return
        buffer = self._open_sink(sender, header)
        if buffer is None:
            return
        try:
            assembly = StreamAssembly(header)
            buffer.feed(assembly.add(header.inline_content))
            assembly.finish()
        except StreamError as error:
            buffer.end(error)
        else:
            buffer.end()

    def _begin(self, sender: str, header: models.DataStream.Header, buffer: StreamBuffer) -> None:
        if buffer.is_closed:
            # By the handler of its topic: nothing of it is wanted.
            return
        try:
            assembly = StreamAssembly(header)
            buffer.charge(_OPEN_STREAM_BYTES)
        except StreamError as error:
            buffer.end(error)
            return
        stream = _OpenStream(assembly, buffer, self._backend.current_time())
        buffer.call_on_close(partial(self._remove, sender, header.stream_id))
        self._open.setdefault(sender, {})[header.stream_id] = stream
        self._count += 1

    def on_chunk(self, sender: str, chunk: models.DataStream.Chunk) -> None:
        """Add a chunk to its stream; a chunk of an unknown one is ignored."""
        if stream := self._find(sender, chunk.stream_id):
            stream.last_received = self._backend.current_time()
            try:
                stream.buffer.feed(stream.assembly.add_chunk(chunk))
            except StreamError as error:
                self._end(sender, chunk.stream_id, error)

    def on_trailer(self, sender: str, trailer: models.DataStream.Trailer) -> None:
        """End a stream; the trailer of an unknown one is ignored."""
        if stream := self._find(sender, trailer.stream_id):
            try:
                stream.assembly.finish(trailer.reason)
            except StreamError as error:
                self._end(sender, trailer.stream_id, error)
            else:
                self._end(sender, trailer.stream_id)

    def on_sender_left(self, sender: str) -> None:
        """End the streams of a participant that has left."""
        for stream_id in tuple(self._open.get(sender, ())):
            self._end(sender, stream_id, StreamError(f"{sender!r} left the room"))

    def give_up_silent(self) -> None:
        """End the streams that have been silent for too long."""
        now = self._backend.current_time()
        for sender, streams in tuple(self._open.items()):
            for stream_id, stream in tuple(streams.items()):
                if now - stream.last_received >= SILENCE_TIMEOUT:
                    error = StreamError(f"nothing of it came for {SILENCE_TIMEOUT:g} s")
                    self._end(sender, stream_id, error)

    def restart_silence(self) -> None:
        """Count the silence of all streams from here on: we had no connection."""
        now = self._backend.current_time()
        for streams in self._open.values():
            for stream in streams.values():
                stream.last_received = now

    def end_all(self, reason: str, cause: DisconnectedError | None = None) -> None:
        """End every stream.

        Args:
            reason: The reason for people.
            cause: The `__cause__` of the errors.
        """
        for sender, streams in tuple(self._open.items()):
            for stream_id in tuple(streams):
                error = StreamError(reason)
                error.__cause__ = cause
                self._end(sender, stream_id, error)

    def _find(self, sender: str, stream_id: str) -> _OpenStream | None:
        streams = self._open.get(sender)
        return None if streams is None else streams.get(stream_id)

    def _end(self, sender: str, stream_id: str, error: StreamError | None = None) -> None:
        buffer = self._open[sender][stream_id].buffer
        self._remove(sender, stream_id)
        buffer.end(error)

    def _remove(self, sender: str, stream_id: str) -> None:
        streams = self._open[sender]
        del streams[stream_id]
        if not streams:
            del self._open[sender]
        self._count -= 1
