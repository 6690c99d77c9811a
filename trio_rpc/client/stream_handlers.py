"""The handlers of data streams, by topic."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from attrs import Factory, define
from livekit.protocol import models

from ..errors import StreamError
from ..protocol.logs import peer_logger
from ..protocol.stream_info import TextStreamInfo, stream_info
from ..streams.buffer import StreamBuffer
from ..streams.buffer_context import BufferContext
from ..streams.readers import ByteStreamReader, TextStreamReader

logger = peer_logger(__name__)

#: The bytes charged for a reader and the task of its handler, besides the header.
_HANDLER_BYTES: Final = 8 * 1024

TextStreamHandler = Callable[[TextStreamReader, str], Awaitable[None] | None]
ByteStreamHandler = Callable[[ByteStreamReader, str], Awaitable[None] | None]
#: Calls a handler with a reader and the sender; the first argument is its description, for the log.
RunHandler = Callable[[str, Callable[[Any, str], object], Any, str], None]

T = TypeVar("T", bound=TextStreamHandler)
B = TypeVar("B", bound=ByteStreamHandler)
_H = TypeVar("_H", bound=Callable[..., object])


class TopicHandlers:
    """The handlers of one kind of streams, by topic."""

    def __init__(self) -> None:
        self._handlers: dict[str, Callable[[Any, str], object]] = {}

    def get(self, topic: str) -> Callable[[Any, str], object] | None:
        """Return the handler of a topic, if there is one."""
        return self._handlers.get(topic)

    def register_or_decorate(self, topic: str, handler: _H | None) -> _H | Callable[[_H], _H]:
        """Register a handler; without one, return a decorator that does.

        Raises:
            TypeError: `topic` is not a `str`, or the handler is not callable.
            ValueError: the topic has a handler.
        """
        if not isinstance(topic, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"the topic of streams is a str, not {topic!r}: give it to the decorator"
            )

        def register(handler: _H) -> _H:
            if not callable(handler):
                raise TypeError(
                    f"the handler of streams of topic {topic!r} is not callable: {handler!r}"
                )
            if topic in self._handlers:
                raise ValueError(f"topic {topic!r} has a stream handler: unregister it first")
            self._handlers[topic] = handler
            return handler

        return register if handler is None else register(handler)

    def unregister(self, topic: str) -> None:
        """Ignore further streams of a topic.

        Raises:
            KeyError: the topic has no handler.
        """
        if topic not in self._handlers:
            raise KeyError(f"topic {topic!r} has no stream handler")
        del self._handlers[topic]


@define(eq=False)
class StreamHandlers:
    """The handlers of texts and of bytes of a room, in all its sessions."""

    text: TopicHandlers = Factory(TopicHandlers)
    bytes: TopicHandlers = Factory(TopicHandlers)

    def open_buffer(
        self,
        context: BufferContext,
        run_handler: RunHandler,
        sender: str,
        header: models.DataStream.Header,
    ) -> StreamBuffer | None:
        """Call the handler of a stream's topic, and return the buffer of its content.

        Returns:
            None if there is no handler, or the sender makes us hold too much already.
        """
        is_text = header.WhichOneof("content_header") == "text_header"
        handler = (self.text if is_text else self.bytes).get(header.topic)
        info = stream_info(header)
        if handler is None or info is None:
            logger.debug("ignored a stream of %s: topic %r has no handler", sender, header.topic)
            return None
        buffer = StreamBuffer(context, sender, header)
        try:
            # Held for as long as there is a reader. A header is held as objects, several times as
            # large as its bytes.
            buffer.charge(_HANDLER_BYTES + 4 * header.ByteSize())
        except StreamError as error:
            logger.debug("ignored a stream of %s: %s", sender, error)
            return None
        what = f"the handler of streams of topic {header.topic!r}"
        if isinstance(info, TextStreamInfo):
            run_handler(what, handler, TextStreamReader(context.backend, info, buffer), sender)
        else:
            run_handler(what, handler, ByteStreamReader(context.backend, info, buffer), sender)
        return buffer
