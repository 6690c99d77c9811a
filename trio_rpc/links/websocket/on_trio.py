"""WebSockets of clients on trio: trio-websocket.

It shakes hands, reads, and answers pings and closes. Messages leave past it, on the same socket:
its own way of sending takes a lock, and two turns of the event loop.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final, cast
from urllib.parse import urlsplit

import h11
import trio
import trio_websocket
from attrs import define, field
from wsproto.utilities import LocalProtocolError

from ...concurrency import Nursery, open_service_nursery
from ...net.byte_streams import ByteStream, connect_tcp
from ...net.tls import TlsByteStream
from ..base import LinkClosedError
from ..connecting import MAX_MESSAGE_BYTES, failure, refusal
from ..framed import CLOSE_TIMEOUT
from .closing import close_reason, closed_with
from .data_frames import encode_message

_ENDED: Final = "it ended the connection during the WebSocket handshake"


@define(eq=False)
class WebSocketStream:
    """The messages of a WebSocket; see `MessageStream`.

    Attributes:
        subprotocol: The subprotocol that the server agreed to, if any.
    """

    _websocket: trio_websocket.WebSocketConnection
    _reader: _Reader
    _socket: _Socket
    subprotocol: str | None
    can_send_nowait: bool = True

    @property
    def unsent_bytes(self) -> int:
        return self._socket.stream.unsent_bytes

    def send_message_nowait(self, message: bytes) -> bool:
        if self._websocket.closed is not None:
            raise _closed(self._websocket.closed)
        if self._socket.stream.unsent_bytes:
            return False
        try:
            self._socket.stream.write(encode_message(message))
        except OSError as error:
            raise LinkClosedError(f"the connection was lost: {error}") from None
        return True

    async def send_message(self, message: bytes) -> None:
        try:
            while not self.send_message_nowait(message):
                await self._socket.drain()
            await self._socket.drain()
        except trio.BrokenResourceError as error:
            raise LinkClosedError(f"the connection was lost: {error}") from None

    async def receive_message(self) -> bytes:
        try:
            message = await self._websocket.get_message()
        except trio_websocket.ConnectionClosed as error:
            raise _closed(error.reason) from None
        return message if isinstance(message, bytes) else message.encode()

    async def aclose(self, reason: str) -> None:
        with self._reader.waiting():
            await self._websocket.aclose(reason=close_reason(reason))


@asynccontextmanager
async def connect(
    url: str, subprotocols: Sequence[str], token: str, context: ssl.SSLContext | None
) -> AsyncGenerator[WebSocketStream]:
    """Open a WebSocket for the block.

    Args:
        url: The URL, with path and query.
        subprotocols: The subprotocols to ask for.
        token: The access token.
        context: The TLS settings for a `wss` URL.

    Raises:
        ConnectError: no server answered, or it refused.
    """
    async with open_service_nursery() as nursery:
        try:
            reader = _Reader(nursery, _Socket(await _open_stream(url, context, nursery)))
        except (OSError, UnicodeError) as error:
            raise failure(url, error) from error
        try:
            websocket = await _shake_hands(reader, url, subprotocols, token)
            try:
                yield WebSocketStream(websocket, reader, reader.socket, websocket.subprotocol)
            finally:
                with trio.move_on_after(CLOSE_TIMEOUT, shield=True), reader.waiting():
                    await websocket.aclose()
        finally:
            reader.scope.cancel()


async def _open_stream(url: str, context: ssl.SSLContext | None, nursery: Nursery) -> ByteStream:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if context is None:
        return await connect_tcp(host, parts.port or 80, nursery)
    stream = await connect_tcp(host, parts.port or 443, nursery)
    try:
        tls = TlsByteStream(stream, context, host)
        await tls.shake_hands()
    except BaseException:
        stream.abort()
        raise
    return tls


class _Socket(trio.abc.Stream):
    """A stream of bytes, as trio-websocket wants it.

    Attributes:
        stream: The same stream. Whoever writes to it first waits until it has no unsent bytes.
    """

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes:  # noqa: ARG002
        return await self.stream.receive()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.drain()
        try:
            self.stream.write(bytes(data))
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error
        await self.drain()

    async def drain(self) -> None:
        """Wait until the socket has taken all bytes.

        Raises:
            trio.BrokenResourceError: the connection is lost.
        """
        # Another task may have written meanwhile.
        while self.stream.unsent_bytes:
            try:
                await self.stream.drain()
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error

    async def wait_send_all_might_not_block(self) -> None:
        await self.drain()

    async def aclose(self) -> None:
        self.stream.abort()


@define(eq=False)
class _Reader:
    """The task that reads from a WebSocket, in the place of the nursery it would be started in.

    trio-websocket starts that task, and no other, in a nursery. Here it is shielded, so that a
    cancelled participant can still close in order, and its end ends what trio-websocket would wait
    for in vain.

    Attributes:
        socket: The socket, which is closed when the task ends.
        scope: The scope of the task, to end it by.
        failure: The reason for which the handshake failed.
    """

    _nursery: Nursery
    socket: _Socket
    scope: trio.CancelScope = field(factory=lambda: trio.CancelScope(shield=True))
    failure: Exception = field(factory=lambda: trio.BrokenResourceError(_ENDED))
    _waiting: set[trio.CancelScope] = field(factory=set[trio.CancelScope])

    def start_soon(self, read: Callable[[], Awaitable[None]]) -> None:
        self._nursery.start_soon(self._run, read)

    @contextmanager
    def waiting(self) -> Generator[None]:
        """Wait for the opening or the closing handshake in the block; the task's end ends it."""
        with trio.CancelScope() as scope:
            self._waiting.add(scope)
            try:
                yield
            finally:
                self._waiting.remove(scope)

    async def _run(self, read: Callable[[], Awaitable[None]]) -> None:
        with self.scope:
            try:
                await self._read(read)
            except (
                OSError,
                h11.ProtocolError,  # the server does not speak HTTP
                trio.BrokenResourceError,
                trio_websocket.ConnectionRejected,
                trio_websocket.HandshakeError,
            ) as error:
                self.failure = error
            finally:
                self.socket.stream.abort()
        for scope in self._waiting:
            scope.cancel()

    async def _read(self, read: Callable[[], Awaitable[None]]) -> None:
        try:
            await read()
        except LocalProtocolError:
            # It answers a ping that comes after our own close frame, which wsproto refuses
            # (python-trio/trio-websocket#184). Only the end of the connection can matter yet.
            while await self.socket.receive_some():
                pass


async def _shake_hands(
    reader: _Reader, url: str, subprotocols: Sequence[str], token: str
) -> trio_websocket.WebSocketConnection:
    parts = urlsplit(url)
    with reader.waiting():
        return await trio_websocket.wrap_client_stream(
            cast("trio.Nursery", reader),
            # Any stream does; the annotation names two.
            cast("trio.SocketStream", reader.socket),
            parts.netloc,
            f"{parts.path}?{parts.query}",
            subprotocols=[*subprotocols],
            extra_headers=[(b"authorization", f"Bearer {token}".encode())],
            max_message_size=MAX_MESSAGE_BYTES,
        )
    if isinstance(reader.failure, trio_websocket.ConnectionRejected):
        raise refusal(url, reader.failure.status_code, reader.failure.body, token)
    raise failure(url, reader.failure) from reader.failure


def _closed(reason: trio_websocket.CloseReason | None) -> LinkClosedError:
    if reason is None:
        return LinkClosedError("the WebSocket was closed")
    return closed_with(reason.code, reason.reason or "")
