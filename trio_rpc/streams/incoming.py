"""Receiving streams: who gets which, and when one has to be given up (rule S6)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from attrs import define
from livekit.protocol import models

from ..concurrency import Backend
from ..errors import StreamError
from .assembly import StreamAssembly
from .info import ByteStreamInfo, stream_info
from .readers import ByteStreamReader, TextStreamReader

logger = logging.getLogger(__name__)

#: Seconds of silence after which a stream is given up.
SILENCE_TIMEOUT: Final = 30.0

TextStreamHandler = Callable[[TextStreamReader, str], Awaitable[None] | None]
ByteStreamHandler = Callable[[ByteStreamReader, str], Awaitable[None] | None]


class StreamSink(Protocol):
    """Where the content of a stream goes."""

    def feed(self, piece: bytes) -> None:
        """Take content, or raise `StreamError` where it is too much."""
        ...

    def end(self, error: StreamError | None = None) -> None:
        """Nothing more will come."""
        ...


#: Given the sender and the attributes of a text, where its content goes, or None for nowhere.
OpenSink = Callable[[str, Mapping[str, str]], StreamSink | None]
#: Given a handler's reader, sender and topic, calls the handler.
RunHandler = Callable[[Callable[[Any, str], Any], Any, str], None]


class StreamHandlers:
    """Who wants the streams of which topic, in whichever room."""

    def __init__(self) -> None:
        self.text: dict[str, TextStreamHandler] = {}
        self.bytes: dict[str, ByteStreamHandler] = {}


def register_handler(handlers: dict[str, Any], topic: str, handler: object) -> None:
    """Let `handler` have the streams of `topic`.

    Raises:
        TypeError: it is not callable.
        ValueError: the topic has a handler.
    """
    if not callable(handler):
        raise TypeError(f"the handler of streams of topic {topic!r} is not callable: {handler!r}")
    if topic in handlers:
        raise ValueError(f"topic {topic!r} has a stream handler: unregister it first")
    handlers[topic] = handler


def unregister_handler(handlers: dict[str, Any], topic: str) -> None:
    """Ignore further streams of `topic`.

    Raises:
        KeyError: the topic has no handler.
    """
    if topic not in handlers:
        raise KeyError(f"topic {topic!r} has no stream handler")
    del handlers[topic]


@define(eq=False)
class _OpenStream:
    assembly: StreamAssembly
    sink: StreamSink
    last_heard: float


class IncomingStreams:
    """The streams that come in during one stay in a room.

    Args:
        handlers: Who wants which.
        internal: The topics of our own, which no handler gets (S1), and what becomes of them.
        max_bytes: What one stream may hold unread.
        run_handler: Calls a handler, and sees to what it returns.
    """

    def __init__(
        self,
        backend: Backend,
        handlers: StreamHandlers,
        internal: Mapping[str, OpenSink],
        max_bytes: int,
        run_handler: RunHandler,
    ) -> None:
        self._backend = backend
        self._handlers = handlers
        self._internal = internal
        self._max_bytes = max_bytes
        self._run_handler = run_handler
        self._open: dict[tuple[str, str], _OpenStream] = {}

    def __len__(self) -> int:
        return len(self._open)

    def on_header(self, sender: str, header: models.DataStream.Header) -> None:
        """A stream begins, and with inline content ends."""
        key = sender, header.stream_id
        if key in self._open:
            logger.debug("ignored the header of a stream of %s that is open", sender)
            return
        sink = self._open_sink(sender, header)
        if sink is None:
            logger.debug("ignored a stream of %s: nobody wants topic %r", sender, header.topic)
            return
        try:
            assembly = StreamAssembly(header, self._max_bytes)
            if header.HasField("inline_content"):
                sink.feed(assembly.add(header.inline_content))
                assembly.finish()
                sink.end()
                return
        except StreamError as error:
            sink.end(error)
            return
        self._open[key] = _OpenStream(assembly, sink, self._backend.current_time())

    def on_chunk(self, sender: str, chunk: models.DataStream.Chunk) -> None:
        """More of a stream has come."""
        key = sender, chunk.stream_id
        if stream := self._open.get(key):
            stream.last_heard = self._backend.current_time()
            try:
                stream.sink.feed(stream.assembly.add_chunk(chunk))
            except StreamError as error:
                self._end(key, error)

    def on_trailer(self, sender: str, trailer: models.DataStream.Trailer) -> None:
        """A stream ends."""
        key = sender, trailer.stream_id
        if stream := self._open.get(key):
            try:
                stream.assembly.finish(trailer.reason)
            except StreamError as error:
                self._end(key, error)
            else:
                self._end(key)

    def on_sender_left(self, sender: str) -> None:
        """Nothing more will come of somebody."""
        for key in tuple(self._open):
            if key[0] == sender:
                self._end(key, StreamError(f"{sender!r} left the room"))

    def give_up_silent(self) -> None:
        """End the streams of which nothing has come for too long."""
        now = self._backend.current_time()
        for key, stream in tuple(self._open.items()):
            if now - stream.last_heard >= SILENCE_TIMEOUT:
                self._end(key, StreamError(f"nothing of it came for {SILENCE_TIMEOUT:g} s"))

    def end_all(self, reason: str) -> None:
        """End every stream."""
        for key in tuple(self._open):
            self._end(key, StreamError(reason))

    def _end(self, key: tuple[str, str], error: StreamError | None = None) -> None:
        self._open.pop(key).sink.end(error)

    def _open_sink(self, sender: str, header: models.DataStream.Header) -> StreamSink | None:
        if open_sink := self._internal.get(header.topic):
            is_text = header.HasField("text_header")
            return open_sink(sender, header.attributes) if is_text else None
        info = stream_info(header)
        if info is None:
            return None
        if isinstance(info, ByteStreamInfo):
            byte_handler = self._handlers.bytes.get(info.topic)
            if byte_handler is None:
                return None
            byte_reader = ByteStreamReader(self._backend, info, self._max_bytes)
            self._run_handler(byte_handler, byte_reader, sender)
            return byte_reader
        text_handler = self._handlers.text.get(info.topic)
        if text_handler is None:
            return None
        text_reader = TextStreamReader(self._backend, info, self._max_bytes)
        self._run_handler(text_handler, text_reader, sender)
        return text_reader
