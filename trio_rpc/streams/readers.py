"""Reading streams that others send."""

from __future__ import annotations

from contextlib import suppress
from typing import Generic, TypeVar

from ..concurrency import Backend
from ..errors import StreamError
from ..protocol.stream_assembly import TextDecoder
from ..protocol.stream_info import BaseStreamInfo, ByteStreamInfo, TextStreamInfo
from .buffer import StreamBuffer

I = TypeVar("I", bound=BaseStreamInfo)  # noqa: E741


class StreamReader(Generic[I]):
    """The common part of readers of texts and of bytes.

    Received content waits until it is read. A reader does not slow its sender down, so one that
    falls behind by more than `max_bytes` is cut off. Once the reader is garbage, further content is
    dropped.
    """

    def __init__(self, backend: Backend, info: I, buffer: StreamBuffer) -> None:
        self._info = info
        self._buffer = buffer
        self._is_closed = False
        self._run_sync_soon = backend.run_sync_soon()

    def __del__(self) -> None:
        # Perhaps in another thread, or after the event loop has ended.
        with suppress(RuntimeError):
            self._run_sync_soon(self._buffer.close)

    def close(self) -> None:
        """Stop reading: drop what has not been read, and whatever comes from now on.

        Iterating goes no further, in any task, unless the stream had broken off: then it raises
        `StreamError`, as before. Closing again, or after the end, is not an error.
        """
        self._is_closed = True
        self._buffer.close()
        self._buffer.end()

    async def aclose(self) -> None:
        """Stop reading, as `close`."""
        self.close()

    async def _receive(self) -> bytes:
        """Return the next content; `b""` at the end, or once the reader is closed."""
        try:
            return await self._buffer.receive()
        except StreamError:
            if self._is_closed and not self._buffer.has_failed:
                return b""
            raise

    @property
    def info(self) -> I:
        """The description of the stream."""
        return self._info

    @property
    def bytes_received(self) -> int:
        """The bytes that have come so far, uncompressed.

        Compressed content counts as it is read.
        """
        return self._buffer.received

    @property
    def progress(self) -> float | None:
        """The part of the stream that has come, from 0 to 1; None when its size is unknown."""
        if self._info.size is None:
            return None
        return self._buffer.received / self._info.size if self._info.size else 1.0


class ByteStreamReader(StreamReader[ByteStreamInfo]):
    """An async iterator over the pieces of bytes that another participant sends.

    Reading raises `StreamError` when the stream does not come to its proper end; what came before
    is read first.
    """

    def __aiter__(self) -> ByteStreamReader:
        return self

    async def __anext__(self) -> bytes:
        if piece := await self._receive():
            return piece
        raise StopAsyncIteration

    async def read_all(self) -> bytes:
        """Wait for the rest of the stream, and return it.

        Raises:
            StreamError: the stream broke off, or is larger than the room's `max_stream_bytes`.
        """
        try:
            return await self._buffer.read_whole()
        finally:
            self._buffer.close()


class TextStreamReader(StreamReader[TextStreamInfo]):
    """An async iterator over the pieces of a text that another participant sends.

    Reading raises `StreamError` when the stream does not come to its proper end; what came before
    is read first.
    """

    def __init__(self, backend: Backend, info: TextStreamInfo, buffer: StreamBuffer) -> None:
        super().__init__(backend, info, buffer)
        self._decoder = TextDecoder()

    def __aiter__(self) -> TextStreamReader:
        return self

    async def __anext__(self) -> str:
        # A piece may end within a character, which then comes with the next one.
        while piece := await self._receive():
            if text := self._decoder.decode(piece):
                return text
        if not self._is_closed:
            self._decoder.decode(b"", final=True)
        raise StopAsyncIteration

    async def read_all(self) -> str:
        """Wait for the rest of the stream, and return it.

        Raises:
            StreamError: the stream broke off, is larger than the room's `max_stream_bytes`, or is
                not UTF-8.
        """
        try:
            return await self._buffer.read_text(self._decoder)
        finally:
            self._buffer.close()
