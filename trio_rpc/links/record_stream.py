"""Messages over a stream of bytes, as records."""

from __future__ import annotations

from typing import Final

from ..net.byte_streams import ByteStream
from ..protocol.limits import truncate_utf8
from .base import LinkClosedError
from .records import ProtocolMismatchError, Record, RecordDecoder, RecordKind, encode_record

_MAX_REASON_BYTES: Final = 120


class RecordStream:
    """A `MessageStream` over a `ByteStream`, which it owns.

    Args:
        stream: Carries the bytes.
        max_body_bytes: The limit for one record of the other side.
    """

    can_send_nowait = True

    def __init__(self, stream: ByteStream, max_body_bytes: int) -> None:
        self._stream = stream
        self._decoder = RecordDecoder(max_body_bytes)
        self._may_write = True
        # The end
        self._receiving = False
        self._ended_because: str | None = None
        self._violation = ""
        self._end_received = False
        self._closed = False

    @property
    def unsent_bytes(self) -> int:
        return self._stream.unsent_bytes

    def accept(self, max_body_bytes: int) -> None:
        """Set the limit for the records of a participant that was admitted."""
        self._decoder.max_body_bytes = max_body_bytes

    # Sending

    def send_message_nowait(self, message: bytes) -> bool:
        if not self._may_write:
            return False
        self._write(encode_record(RecordKind.MESSAGE, message))
        return True

    async def send_message(self, message: bytes) -> None:
        await self.send(encode_record(RecordKind.MESSAGE, message))

    async def send(self, data: bytes) -> None:
        """Send bytes that are not a message: a record of another kind, or the preamble.

        Raises:
            LinkClosedError: the connection is lost.
        """
        await self._drain()
        self._write(data)
        await self._drain()

    def _write(self, data: bytes) -> None:
        try:
            self._may_write = self._stream.write(data)
        except OSError as error:
            raise LinkClosedError(f"the connection was lost: {error}") from None

    async def _drain(self) -> None:
        if not self._may_write:
            try:
                await self._stream.drain()
            except OSError as error:
                raise LinkClosedError(f"the connection was lost: {error}") from None
            self._may_write = True

    # Receiving

    async def receive_message(self) -> bytes:
        kind, body = await self.receive_record()
        if kind is RecordKind.MESSAGE:
            return body
        if kind is RecordKind.END:
            reason = body.decode(errors="replace") or "no reason given"
            self._ended_because = f"the connection was closed: {reason}"
            self._end_received = True
            # The other side does not read any more, and waits for our end.
            self._stream.write_eof()
        else:
            self._violate(f"a record {kind.name} after the handshake")
        assert self._ended_because is not None
        raise LinkClosedError(self._ended_because)

    async def receive_record(self) -> Record:
        """Receive the next record, of any kind.

        Raises:
            ProtocolMismatchError: the other side speaks another protocol.
            LinkClosedError: the connection has ended, or sent something invalid.
        """
        while True:
            if self._ended_because is not None:
                raise LinkClosedError(self._ended_because)
            try:
                record = self._decoder.next_record()
            except ProtocolMismatchError:
                raise
            except ValueError as error:
                self._violate(str(error))
                continue
            if record is not None:
                return record
            await self._feed_decoder()

    async def _feed_decoder(self) -> None:
        self._receiving = True
        try:
            data = await self._stream.receive()
        finally:
            self._receiving = False
        if data:
            self._decoder.feed(data)
        else:
            self._ended_because = "the connection was lost"

    def _violate(self, what: str) -> None:
        self._violation = self._ended_because = what

    async def aclose(self, reason: str) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if not self._end_received:
                text = truncate_utf8(self._violation or reason, _MAX_REASON_BYTES)
                await self.send(encode_record(RecordKind.END, text.encode()))
            await self.finish()
        except LinkClosedError:
            pass
        finally:
            self._stream.abort()

    async def finish(self) -> None:
        """End our direction, and wait for the other side to end as well.

        Closing a socket with unread data in it would reset the connection, and the last data sent
        might never be read. This may take as long as the other side likes.
        """
        self._stream.write_eof()
        if not self._receiving:
            while await self._stream.receive():
                pass
