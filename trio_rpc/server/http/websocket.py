"""A WebSocket after its handshake: the protocol of `websockets`, without extensions, over bytes.

The server never agrees to permessage-deflate: a small frame could inflate to any size, small
packets are not worth compressing, and texts in streams are compressed on their own.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State

from ... import concurrency
from ...net.byte_streams import ByteStream
from .connection import PeerGoneError
from .frame_cutter import FrameCutter

if TYPE_CHECKING:
    from websockets.server import ServerProtocol


class WebSocketClosedError(Exception):
    """The WebSocket has ended, with the code and reason of the peer, or of its violation."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"closed with {code}: {reason}")
        self.code = code
        self.reason = reason


class ServerWebSocket:
    """A server's end of a WebSocket. One task at a time may receive, and any may send.

    Args:
        stream: The stream that carries the WebSocket.
        protocol: A protocol that is open, and was fed nothing yet.
        close_timeout: Seconds in which the peer may read the last data sent.
    """

    def __init__(self, stream: ByteStream, protocol: ServerProtocol, close_timeout: float) -> None:
        self._stream = stream
        self._protocol = protocol
        self._close_timeout = close_timeout
        self._backend = concurrency.current()
        # Received data
        self._cutter = FrameCutter()
        self._received: deque[str | bytes] = deque()
        self._fragments: bytearray | None = None
        self._fragmented: Opcode = Opcode.BINARY
        # Data to send
        self._outgoing: list[bytes] = []
        self._may_write = True
        self._draining = self._backend.lock()
        self._ended = False

    # Receiving

    async def receive(self) -> str | bytes:
        """Receive the next message.

        Raises:
            WebSocketClosedError: there will be none.
        """
        while not self._received:
            if self._protocol.eof_sent:
                await self._end()
                close = self._protocol.close_rcvd or self._protocol.close_sent
                if close is None:
                    raise WebSocketClosedError(CloseCode.ABNORMAL_CLOSURE, "")
                raise WebSocketClosedError(close.code, close.reason)
            try:
                # Before more is read: a peer that does not read its pongs must not send more pings.
                await self._flush()
            except PeerGoneError:
                self._parse(b"")
            else:
                if self._cutter:
                    # These may be any number of frames without a message, such as pings.
                    await self._backend.checkpoint()
                else:
                    self._cutter.feed(await self._stream.receive())
                self._parse(self._cutter.next_piece())
        return self._received.popleft()

    def feed(self, data: bytes) -> None:
        """Take the bytes that came before the first call of `receive`."""
        self._cutter.feed(data)

    def _parse(self, data: bytes) -> None:
        """Parse the next bytes; `b""` is the end."""
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        for frame in self._protocol.events_received():
            if isinstance(frame, Frame):
                self._on_frame(frame)

    def _on_frame(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.TEXT | Opcode.BINARY if frame.fin:
                self._on_message(frame.opcode, bytes(frame.data))
            case Opcode.TEXT | Opcode.BINARY:
                self._fragmented, self._fragments = frame.opcode, bytearray(frame.data)
            case Opcode.CONT if self._fragments is not None:
                self._fragments += frame.data
                if frame.fin:
                    data, self._fragments = bytes(self._fragments), None
                    self._on_message(self._fragmented, data)
            case _:
                pass

    def _on_message(self, opcode: Opcode, data: bytes) -> None:
        if opcode is Opcode.BINARY:
            self._received.append(data)
            return
        try:
            self._received.append(data.decode())
        except UnicodeDecodeError as error:
            self._protocol.fail(CloseCode.INVALID_DATA, f"{error.reason} at {error.start}")

    # Sending

    async def send(self, message: str | bytes) -> None:
        """Send a message.

        Raises:
            PeerGoneError: the WebSocket is closed.
        """
        self._put(message)
        await self._flush()

    def send_nowait(self, message: bytes) -> bool:
        """Send a message if that is possible without waiting, and return whether it was sent.

        Raises:
            PeerGoneError: the WebSocket is closed.
        """
        if not self._may_write:
            return False
        self._put(message)
        self._write()
        return True

    def unsent_bytes(self) -> int:
        """Return the bytes that were sent and that the socket has not taken."""
        return sum(map(len, self._outgoing)) + self._stream.unsent_bytes

    async def close(self, code: int, reason: str) -> None:
        """Send a close frame, unless one was sent before, and end the connection."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
        await self._end()

    def _put(self, message: str | bytes) -> None:
        try:
            if isinstance(message, str):
                self._protocol.send_text(message.encode())
            else:
                self._protocol.send_binary(message)
        except InvalidState:
            raise PeerGoneError("the WebSocket is closed") from None

    async def _end(self) -> None:
        """Send the last frames at once, so that the peer need not wait until the app returns."""
        if self._ended:
            return
        with suppress(PeerGoneError), self._backend.move_on_after(self._close_timeout):
            await self._flush()
            await self._drain()
            self._ended = True
            self._stream.write_eof()

    async def _flush(self) -> None:
        self._outgoing += self._protocol.data_to_send()
        if self._outgoing:
            await self._drain()
            self._write()
            await self._drain()

    def _write(self) -> None:
        """Write the outgoing data; `_drain` comes first, with nothing awaited in between."""
        if self._ended:
            raise PeerGoneError("nothing can be sent any more")
        data = b"".join((*self._outgoing, *self._protocol.data_to_send()))
        self._outgoing.clear()
        try:
            self._may_write = self._stream.write(data)
        except OSError as error:
            raise PeerGoneError(str(error)) from None

    async def _drain(self) -> None:
        while not self._may_write:
            async with self._draining:
                if self._may_write:
                    continue
                try:
                    await self._stream.drain()
                except OSError as error:
                    raise PeerGoneError(str(error)) from None
                self._may_write = True
