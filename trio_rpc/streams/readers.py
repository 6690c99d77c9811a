"""Reading streams that others send."""

from __future__ import annotations

import codecs
from collections import deque
from typing import Generic, TypeVar

from ..concurrency import Backend
from ..errors import StreamError
from .info import BaseStreamInfo, ByteStreamInfo, TextStreamInfo

I = TypeVar("I", bound=BaseStreamInfo)  # noqa: E741


class StreamReader(Generic[I]):
    """What readers of texts and of bytes have in common.

    Content that was received waits here until it is read. A reader does not slow its
    sender down, so one that is slower by more than `max_bytes` is cut off.
    """

    def __init__(self, backend: Backend, info: I, max_bytes: int) -> None:
        self._backend = backend
        self._info = info
        self._max_bytes = max_bytes
        # What was received and not read
        self._pieces: deque[bytes] = deque()
        self._unread = 0
        self._received = 0
        self._changed = backend.event()
        # How it ends
        self._ended = False
        self._error: StreamError | None = None

    @property
    def info(self) -> I:
        """What the stream is about."""
        return self._info

    @property
    def bytes_received(self) -> int:
        """How many bytes have come so far, uncompressed."""
        return self._received

    @property
    def progress(self) -> float | None:
        """How much of the stream has come, from 0 to 1; None when its size is not known."""
        if self._info.size is None:
            return None
        return self._received / self._info.size if self._info.size else 1.0

    def feed(self, piece: bytes) -> None:
        """Take content that was received.

        Raises:
            StreamError: too much is unread.
        """
        self._received += len(piece)
        self._unread += len(piece)
        if self._unread > self._max_bytes:
            raise StreamError(
                f"{self._unread:,} bytes of it wait to be read, over the limit of "
                f"{self._max_bytes:,}: read faster, or give Room a larger max_stream_bytes"
            )
        if piece:
            self._pieces.append(piece)
            self._notify()

    def end(self, error: StreamError | None = None) -> None:
        """Nothing more will come; only the first call counts."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._notify()

    async def _next_piece(self) -> bytes:
        """The next content, `b""` at the end."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            await self._changed.wait()
        piece = self._pieces.popleft()
        self._unread -= len(piece)
        return piece

    async def _read_whole(self) -> bytes:
        whole = bytearray()
        while piece := await self._next_piece():
            whole += piece
            if len(whole) > self._max_bytes:
                raise StreamError(
                    f"it has more than {self._max_bytes:,} bytes, which is the limit of read_all: "
                    "read it piece by piece"
                )
        return bytes(whole)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = self._backend.event()


class ByteStreamReader(StreamReader[ByteStreamInfo]):
    """Bytes that another participant sends, as an async iterator of pieces.

    Reading raises `StreamError` when the stream does not come to its proper end; what came before
    is read first.
    """

    def __aiter__(self) -> ByteStreamReader:
        return self

    async def __anext__(self) -> bytes:
        if piece := await self._next_piece():
            return piece
        raise StopAsyncIteration

    async def read_all(self) -> bytes:
        """All that has not been read, when it has come.

        Raises:
            StreamError: the stream broke off, or is larger than the room's `max_stream_bytes`.
        """
        return await self._read_whole()


class TextStreamReader(StreamReader[TextStreamInfo]):
    """Text that another participant sends, as an async iterator of pieces.

    Reading raises `StreamError` when the stream does not come to its proper end; what came before
    is read first.
    """

    def __init__(self, backend: Backend, info: TextStreamInfo, max_bytes: int) -> None:
        super().__init__(backend, info, max_bytes)
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def __aiter__(self) -> TextStreamReader:
        return self

    async def __anext__(self) -> str:
        # A piece may end within a character, which then comes with the next one.
        while piece := await self._next_piece():
            if text := self._decode(piece):
                return text
        self._decode(b"", final=True)
        raise StopAsyncIteration

    async def read_all(self) -> str:
        """All that has not been read, when it has come.

        Raises:
            StreamError: the stream broke off, is larger than the room's `max_stream_bytes`, or is
                not UTF-8.
        """
        return self._decode(await self._read_whole(), final=True)

    def _decode(self, piece: bytes, *, final: bool = False) -> str:
        try:
            return self._decoder.decode(piece, final)
        except UnicodeDecodeError:
            raise StreamError("it is not UTF-8") from None
