"""The content of a received stream, between the receive loop and the reader.

Received content waits as it came. Compressed content is inflated by its reader, piece by piece and
one stream of a session at a time, so that a small stream which inflates to a large one costs the
receive loop nothing, and the others' tasks no more than a piece for each turn (rule B6).
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable
from typing import Final

from livekit.protocol import models

from ..concurrency import Event
from ..errors import StreamError
from ..protocol.budgets import allocated_bytes
from ..protocol.deflating import CODEC, InflateError, Inflater
from ..protocol.stream_assembly import TextDecoder, decode_text
from .buffer_context import BufferContext
from .whole_text import WholeText

#: The bytes inflated in one turn.
_INFLATED_PIECE_BYTES: Final = 64 * 1024
#: The bytes that a piece takes besides its content.
_PIECE_BYTES: Final = 64
#: The size up to which a whole text is decoded at once, at the price of a copy.
_SMALL_TEXT_BYTES: Final = 64 * 1024
_DEFLATE_RAW: Final = models.DataStream.CompressionType.DEFLATE_RAW


class StreamBuffer:
    """The content of one stream, on its way to one reader.

    Args:
        context: The common part of all buffers of the session.
        sender: The identity that is charged for what is held (B4).
        header: The header that announced the stream.

    Attributes:
        received: The bytes that have come, uncompressed; of a compressed stream, those that were
            inflated so far.
        is_compressed: Whether content has to be inflated.
    """

    def __init__(
        self, context: BufferContext, sender: str, header: models.DataStream.Header
    ) -> None:
        self._context = context
        self._sender = sender
        self._announced = header.total_length if header.HasField("total_length") else None
        self.is_compressed = header.compression == _DEFLATE_RAW
        # Made by the reader, for as long as there is something to inflate
        self._inflater: Inflater | None = None
        # Compressed, and taken by the reader: what the inflater was not fed yet, and the charge for
        # what was not inflated yet
        self._input = b""
        self._input_cost = 0
        self._is_inflated = False
        # Received and not read
        self._pieces: deque[bytes] = deque()
        self._unread = 0
        self._charged = 0
        self.received = 0
        # Set on a change, where the reader waits for one
        self._changed: Event | None = None
        # The end
        self._on_close: Callable[[], None] | None = None
        self._closed = False
        self._ended = False
        self._error: StreamError | None = None

    # The receive loop

    @property
    def is_closed(self) -> bool:
        """Whether the reader is gone."""
        return self._closed

    def call_on_close(self, on_close: Callable[[], None]) -> None:
        """Call a function when the reader is gone before the stream has ended."""
        self._on_close = on_close

    def charge(self, size: int) -> None:
        """Charge the sender for something that is held as long as this buffer.

        Raises:
            StreamError: it would exceed a budget.
        """
        if self._closed:
            return
        self._context.charge(self._sender, size)
        self._charged += size

    def feed(self, piece: bytes) -> None:
        """Add content as it was received.

        Raises:
            StreamError: too much is unread, or held for this sender.
        """
        if self._closed:
            return
        if self._unread + len(piece) > self._context.max_bytes:
            raise self._context.too_much()
        if piece:
            self.charge(_cost_of(piece))
            self._unread += len(piece)
            if not self.is_compressed:
                self.received += len(piece)
            self._pieces.append(piece)
            self._notify()

    def end(self, error: StreamError | None = None) -> None:
        """Record that nothing more will come; only the first call counts."""
        if not self._ended:
            self._ended = True
            self._error = None if error is None else _fresh(error)
            self._on_close = None
            self._notify()

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self._ended

    @property
    def has_failed(self) -> bool:
        """Whether the stream broke off."""
        return self._error is not None

    # The reader

    def close(self) -> None:
        """Drop the content held, and any that comes from now on."""
        if self._closed:
            return
        self._closed = True
        self._pieces.clear()
        self._inflater = None
        self._input, self._input_cost = b"", 0
        if self._charged:
            self._context.budget.refund(self._sender, self._charged)
            self._charged = 0
        if self._on_close is not None:
            self._on_close()

    async def receive(self) -> bytes:
        """Return the next content, `b""` at the end.

        Raises:
            StreamError: the stream broke off, after what came before was received.
        """
        if not self.is_compressed:
            piece = await self._next_piece()
            if piece:
                self._refund(_cost_of(piece))
            return piece
        while True:
            if not self._input_cost:
                self._input = await self._next_piece()
                if not self._input:
                    self._check_inflated()
                    return b""
                self._input_cost = _cost_of(self._input)
            async with self._context.inflating:
                # Before and not after, or a cancelled reader would lose content.
                await self._context.backend.checkpoint()
                if content := self._inflate():
                    return content

    @property
    def has_small_text(self) -> bool:
        """Whether `take_text` may be called: a small text has come as a whole."""
        return (
            self._ended
            and self._error is None
            and not self.is_compressed
            and self._unread <= _SMALL_TEXT_BYTES
        )

    def take_text(self) -> str:
        """Return the text of a stream for which `has_small_text`.

        Raises:
            StreamError: it is not UTF-8.
        """
        content = self._pieces.popleft() if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        return self._decode(content)

    async def read_text(self, decoder: TextDecoder | None = None) -> str:
        """Return the whole text when it has come; it stays charged until `close`.

        Args:
            decoder: The decoder of the content received before.

        Raises:
            StreamError: it broke off, is too large, or is not UTF-8.
        """
        if decoder is None and self.has_small_text:
            return self.take_text()
        # Decoded as it comes, or it would be held as bytes and as text.
        decoder = decoder or TextDecoder()
        text, size, charged = WholeText(), 0, 0
        while piece := await self.receive():
            size += len(piece)
            if size > self._context.max_bytes:
                raise self._context.too_much()
            text.add(decoder.decode(piece))
            # It must not be held while the next one is waited for.
            del piece
            # With what it takes to put it together in the end, or that could be refused.
            self.charge(text.needed_bytes - charged)
            charged = text.needed_bytes
        decoder.decode(b"", final=True)
        whole = text.take()
        self._refund(max(charged - text.whole_bytes, 0))
        return whole

    async def read_whole(self) -> bytes:
        """Return the rest of the content when it has come; it stays charged until `close`.

        Raises:
            StreamError: it broke off, or is larger than the limit of what is read as a whole.
        """
        content, size = io.BytesIO(), 0
        while piece := await self.receive():
            size += len(piece)
            if size > self._context.max_bytes:
                raise self._context.too_much()
            self.charge(allocated_bytes(len(piece)))
            content.write(piece)
            del piece
        return content.getvalue()

    def _decode(self, content: bytes) -> str:
        return self._charge_text(decode_text(content), len(content))

    def _charge_text(self, text: str, charged: int) -> str:
        if not text.isascii():
            # As text it may be up to four times as large as in UTF-8.
            self.charge(max(text.__sizeof__() - charged, 0))
        return text

    async def _next_piece(self) -> bytes:
        """Return the next piece as it came, which stays charged; `b""` at the end."""
        while not self._pieces:
            if self._error is not None:
                # One that were raised and kept would keep the frames that it went through.
                raise _fresh(self._error)
            if self._ended:
                return b""
            if self._closed:
                raise StreamError("it was not read to its end, and is not received any more")
            if self._changed is None:
                self._changed = self._context.backend.event()
            await self._changed.wait()
        piece = self._pieces.popleft()
        self._unread -= len(piece)
        return piece

    def _refund(self, size: int) -> None:
        if not self._closed:
            self._charged -= size
            self._context.budget.refund(self._sender, size)

    def _inflate(self) -> bytes:
        """Inflate the next of the input; return nothing when it is used up."""
        if self._closed:
            return b""
        if self._is_inflated:
            raise self._break("there is something after the end of the compressed content")
        if self._inflater is None:
            self.charge(CODEC.inflater_bytes)
            self._inflater = Inflater()
        inflater = self._inflater
        if self._input:
            inflater.feed(self._input)
            self._input = b""
        try:
            content = inflater.inflate(_INFLATED_PIECE_BYTES)
        except InflateError as error:
            why = str(error)
        else:
            self._count_inflated(len(content))
            if inflater.needs_input or inflater.is_complete:
                self._refund(self._input_cost)
                self._input_cost = 0
            if inflater.is_complete:
                self._is_inflated, self._inflater = True, None
                self._refund(CODEC.inflater_bytes)
            return content
        raise self._break(why)

    def _count_inflated(self, size: int) -> None:
        self.received += size
        if self._announced is not None and self.received > self._announced:
            raise self._break(
                f"{self._announced:,} bytes were announced, and {self.received:,} have come"
            )

    def _break(self, why: str) -> StreamError:
        """Drop the rest of a stream that its reader found to be broken."""
        self._error = StreamError(why)
        self.close()
        return _fresh(self._error)

    def _check_inflated(self) -> None:
        """Check that the whole content was there.

        Raises:
            StreamError: something is missing.
        """
        if self._announced is not None and self.received < self._announced:
            raise StreamError(
                f"{self._announced:,} bytes were announced, and only {self.received:,} have come"
            )
        if not self._is_inflated:
            raise StreamError("the compressed content has no end")

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None


def _cost_of(piece: bytes) -> int:
    """Return the bytes that are charged for a piece."""
    return allocated_bytes(len(piece)) + _PIECE_BYTES


def _fresh(error: StreamError) -> StreamError:
    """Return an error like another, without the frames that the other went through.

    These hold what was received, and the buffer that keeps the error, until a collection of
    garbage finds the circle.
    """
    fresh = StreamError(str(error))
    fresh.__cause__ = error.__cause__
    return fresh
