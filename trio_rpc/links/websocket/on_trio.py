"""WebSockets of clients on trio: trio-websocket."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeAlias, cast
from urllib.parse import urlsplit

import h11
import trio
import trio_websocket
from attrs import define, field

from ...concurrency import Nursery, open_service_nursery
from ..base import LinkClosedError
from ..connecting import MAX_MESSAGE_BYTES, failure, refusal
from ..framed import CLOSE_TIMEOUT
from .closing import close_reason, closed_with

#: The size of a read from the socket: a coalesced message is larger than the usual 4 KB.
_RECEIVE_BUFFER_BYTES: Final = 256 * 1024

_ENDED: Final = "it ended the connection during the WebSocket handshake"

_Socket: TypeAlias = "trio.SocketStream | trio.SSLStream[trio.SocketStream]"


@define(eq=False)
class WebSocketStream:
    """The messages of a WebSocket; see `MessageStream`.

    Attributes:
        subprotocol: The subprotocol that the server agreed to, if any.
    """

    _websocket: trio_websocket.WebSocketConnection
    subprotocol: str | None
    can_send_nowait: bool = False
    unsent_bytes: int = 0

    def send_message_nowait(self, message: bytes) -> bool:  # noqa: ARG002
        return False

    async def send_message(self, message: bytes) -> None:
        try:
            await self._websocket.send_message(message)
        except trio_websocket.ConnectionClosed as error:
            raise _closed(error.reason) from None

    async def receive_message(self) -> bytes:
        try:
            message = await self._websocket.get_message()
        except trio_websocket.ConnectionClosed as error:
            raise _closed(error.reason) from None
        return message if isinstance(message, bytes) else message.encode()

    async def aclose(self, reason: str) -> None:
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
            reader = _Reader(nursery, await _open_stream(url, context))
        except (OSError, UnicodeError, trio.BrokenResourceError) as error:
            raise failure(url, error) from error
        try:
            websocket = await _shake_hands(reader, url, subprotocols, token)
            try:
                yield WebSocketStream(websocket, websocket.subprotocol)
            finally:
                with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                    await websocket.aclose()
        finally:
            reader.scope.cancel()


async def _open_stream(url: str, context: ssl.SSLContext | None) -> _Socket:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if context is None:
        return await trio.open_tcp_stream(host, parts.port or 80)
    stream = await trio.open_ssl_over_tcp_stream(
        host, parts.port or 443, ssl_context=context, https_compatible=True
    )
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


@define(eq=False)
class _Reader:
    """The task that reads from a WebSocket, in the place of the nursery it would be started in.

    trio-websocket starts that task, and no other, in a nursery. Here it is shielded, so that a
    cancelled participant can still close in order, and its end ends the handshake, which
    trio-websocket would wait for in vain.

    Attributes:
        stream: The socket, which is closed when the task ends.
        scope: The scope of the task, to end it by.
        handshake: The scope of the handshake.
        failure: The reason for which the handshake failed.
    """

    _nursery: Nursery
    stream: _Socket
    scope: trio.CancelScope = field(factory=lambda: trio.CancelScope(shield=True))
    handshake: trio.CancelScope = field(factory=trio.CancelScope)
    failure: Exception = field(factory=lambda: trio.BrokenResourceError(_ENDED))

    def start_soon(self, read: Callable[[], Awaitable[None]]) -> None:
        self._nursery.start_soon(self._run, read)

    async def _run(self, read: Callable[[], Awaitable[None]]) -> None:
        with self.scope:
            try:
                await read()
            except (
                OSError,
                h11.ProtocolError,  # the server does not speak HTTP
                trio.BrokenResourceError,
                trio_websocket.ConnectionRejected,
                trio_websocket.HandshakeError,
            ) as error:
                self.failure = error
            finally:
                await trio.aclose_forcefully(self.stream)
        self.handshake.cancel()


async def _shake_hands(
    reader: _Reader, url: str, subprotocols: Sequence[str], token: str
) -> trio_websocket.WebSocketConnection:
    parts = urlsplit(url)
    with reader.handshake:
        return await trio_websocket.wrap_client_stream(
            cast("trio.Nursery", reader),
            reader.stream,
            parts.netloc,
            f"{parts.path}?{parts.query}",
            subprotocols=[*subprotocols],
            extra_headers=[(b"authorization", f"Bearer {token}".encode())],
            max_message_size=MAX_MESSAGE_BYTES,
            receive_buffer_size=_RECEIVE_BUFFER_BYTES,
        )
    if isinstance(reader.failure, trio_websocket.ConnectionRejected):
        raise refusal(url, reader.failure.status_code, reader.failure.body, token)
    raise failure(url, reader.failure) from reader.failure


def _closed(reason: trio_websocket.CloseReason | None) -> LinkClosedError:
    if reason is None:
        return LinkClosedError("the WebSocket was closed")
    return closed_with(reason.code, reason.reason or "")
