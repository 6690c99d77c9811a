"""The handlers of data streams: who wants the streams of which topic."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from attrs import Factory, define
from livekit.protocol import models

from ..errors import StreamError
from ..logs import peer_logger
from ..protocol.stream_info import TextStreamInfo, stream_info
from ..streams.buffer import BufferContext, StreamBuffer
from ..streams.readers import ByteStreamReader, TextStreamReader

logger = peer_logger(__name__)

#: What a reader and the task of its handler cost us, besides what the header says.
_HANDLER_BYTES: Final = 8 * 1024

TextStreamHandler = Callable[[TextStreamReader, str], Awaitable[None] | None]
ByteStreamHandler = Callable[[ByteStreamReader, str], Awaitable[None] | None]
#: Given a handler's reader, sender and topic, calls the handler.
RunHandler = Callable[[Callable[[Any, str], Any], Any, str], None]


@define(eq=False)
class StreamHandlers:
    """The handlers of texts and of bytes by topic, in whichever room."""

    text: dict[str, TextStreamHandler] = Factory(dict[str, TextStreamHandler])
    bytes: dict[str, ByteStreamHandler] = Factory(dict[str, ByteStreamHandler])

    def open_buffer(
        self,
        context: BufferContext,
        run_handler: RunHandler,
        sender: str,
        header: models.DataStream.Header,
    ) -> StreamBuffer | None:
        """Call the handler of a stream's topic, and return what takes the stream's content.

        Returns:
            None where there is no handler, or the sender makes us hold too much already.
        """
        is_text = header.WhichOneof("content_header") == "text_header"
        handler = (self.text if is_text else self.bytes).get(header.topic)
        info = stream_info(header)
        if handler is None or info is None:
            logger.debug("ignored a stream of %s: nobody wants topic %r", sender, header.topic)
            return None
        buffer = StreamBuffer(context, sender, header)
        try:
            # Held for as long as somebody has the reader. A header is held as objects, several
            # times as large as what was sent.
            buffer.charge(_HANDLER_BYTES + 4 * header.ByteSize())
        except StreamError as error:
            logger.debug("ignored a stream of %s: %s", sender, error)
            return None
        if isinstance(info, TextStreamInfo):
            run_handler(handler, TextStreamReader(context.backend, info, buffer), sender)
        else:
            run_handler(handler, ByteStreamReader(context.backend, info, buffer), sender)
        return buffer


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
