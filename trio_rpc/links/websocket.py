"""A client's link over a WebSocket: trio-websocket on trio, websockets on asyncio.

The signalling WebSocket of LiveKit (`/rtc`) carries the data packets too. Both sides agree on that
by the subprotocol `SUBPROTOCOL`, whose messages are those of `frames`; a server that speaks
LiveKit's signalling alone does not agree, and is refused with an error that says so.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, cast
from urllib.parse import urlencode, urlsplit, urlunsplit

import anyio
import h11
import trio
import trio_websocket
import websockets.asyncio.client
import websockets.exceptions
from attrs import define, frozen
from livekit.protocol import rtc
from websockets.typing import Subprotocol

from .. import concurrency
from ..errors import ConnectError
from ..protocol.limits import truncate_utf8
from .base import Link, LinkClosedError, MessageStream
from .connecting import MAX_MESSAGE_BYTES, check_token, failure, refusal, without_query
from .framed import CLOSE_TIMEOUT, open_framed_link

#: The subprotocol of our clients and servers: frames instead of bare signalling messages.
SUBPROTOCOL: Final = "trio-rpc.v1"
#: The size of a read from the socket: a coalesced message is larger than the usual 4 KB.
_RECEIVE_BUFFER_BYTES: Final = 256 * 1024
_MAX_CLOSE_REASON_BYTES: Final = 120
_SCHEMES: Final = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}


@frozen
class WebSocketConnector:
    """The connector for the URL of a WebSocket.

    Args:
        url: `ws://` or `wss://` (or `http://`, `https://`), the host, and perhaps a port and the
            path that the server is mounted at.
        ssl_context: For `wss://`: which certificates to trust; the system's unless given.
    """

    url: str
    ssl_context: ssl.SSLContext | None = None

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncGenerator[Link]:
        url = _signalling_url(self.url, request)
        check_token(token)
        context = self.ssl_context
        if context is None and url.startswith("wss:"):
            context = ssl.create_default_context()
        connect = _CONNECT[concurrency.current().name]
        async with (
            connect(url, f"Bearer {token}", context) as stream,
            open_framed_link(stream) as link,
        ):
            yield link


def _signalling_url(url: str, request: rtc.JoinRequest) -> str:
    try:
        parts = urlsplit(url)
        scheme = _SCHEMES[parts.scheme]
        if not parts.hostname or parts.port == 0:
            raise ValueError
    except (KeyError, ValueError):
        raise ConnectError(
            f"{url!r} is not the URL of a room server: it wants ws:// or wss://, a host, and "
            "perhaps a port and a path"
        ) from None
    wrapped = rtc.WrappedJoinRequest(join_request=request.SerializeToString())
    query = {"join_request": base64.urlsafe_b64encode(wrapped.SerializeToString()).decode()}
    path = parts.path.rstrip("/") + "/rtc"
    # Without user and password, which no server asks for, and which would show in error messages.
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((scheme, host, path, urlencode(query), ""))


def _require_subprotocol(url: str, subprotocol: str | None) -> None:
    if subprotocol != SUBPROTOCOL:
        raise ConnectError(
            f"the server at {without_query(url)} does not carry data packets over its WebSocket "
            f"(subprotocol {SUBPROTOCOL}): it is not a trio_rpc server"
        )


def closed_with(code: int, reason: str) -> LinkClosedError:
    """Return the error of a link whose WebSocket the other side has closed."""
    return LinkClosedError(f"the WebSocket was closed with {code}: {reason or 'no reason given'}")


def close_reason(reason: str) -> str | None:
    """Cut `reason` to the size of a WebSocket's close frame, which holds 125 bytes."""
    return truncate_utf8(reason, _MAX_CLOSE_REASON_BYTES) or None


# On trio


@define(eq=False)
class _TrioStream:
    _websocket: trio_websocket.WebSocketConnection
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
async def _connect_on_trio(
    url: str, authorization: str, context: ssl.SSLContext | None
) -> AsyncGenerator[MessageStream]:
    async def hold() -> None:
        # The task that reads from the WebSocket lives in here. It is shielded, so that a cancelled
        # participant can still close in order; the end of the block ends it.
        try:
            with scope:
                async with (
                    await _open_stream(url, context) as stream,
                    trio.open_nursery() as reader,
                ):
                    outcome.send_nowait(await _shake_hands(reader, stream, url, authorization))
        except* (
            OSError,
            UnicodeError,  # of the host's name
            h11.ProtocolError,  # what answers does not speak HTTP
            trio.BrokenResourceError,
            trio_websocket.ConnectionRejected,
            trio_websocket.HandshakeError,
        ) as group:
            outcome.send_nowait(group.exceptions[0])

    scope = trio.CancelScope(shield=True)
    outcome, opened = trio.open_memory_channel[trio_websocket.WebSocketConnection | Exception](1)
    async with concurrency.open_service_nursery() as nursery:
        nursery.start_soon(hold)
        try:
            websocket = await opened.receive()
            if isinstance(websocket, trio_websocket.ConnectionRejected):
                raise refusal(url, websocket.status_code, websocket.body) from None
            if isinstance(websocket, Exception):
                raise failure(url, websocket) from websocket
            try:
                _require_subprotocol(url, websocket.subprotocol)
                yield _TrioStream(websocket)
            finally:
                with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                    await websocket.aclose()
        finally:
            scope.cancel()


async def _open_stream(
    url: str, context: ssl.SSLContext | None
) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
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


async def _shake_hands(
    reader: trio.Nursery,
    stream: trio.SocketStream | trio.SSLStream[trio.SocketStream],
    url: str,
    authorization: str,
) -> trio_websocket.WebSocketConnection:
    parts = urlsplit(url)
    with trio.CancelScope() as handshake:
        return await trio_websocket.wrap_client_stream(
            cast("trio.Nursery", _WatchedNursery(reader, handshake.cancel)),
            stream,
            parts.netloc,
            f"{parts.path}?{parts.query}",
            subprotocols=[SUBPROTOCOL],
            extra_headers=[(b"authorization", authorization.encode())],
            max_message_size=MAX_MESSAGE_BYTES,
            receive_buffer_size=_RECEIVE_BUFFER_BYTES,
        )
    raise trio.BrokenResourceError("it ended the connection during the WebSocket handshake")


@frozen
class _WatchedNursery:
    """A nursery that reports the end of the reader, which trio-websocket's handshake misses."""

    _nursery: trio.Nursery
    _on_end: Callable[[], None]

    def start_soon(self, reader: Callable[[], Awaitable[None]]) -> None:
        async def read() -> None:
            await reader()
            self._on_end()

        self._nursery.start_soon(read)


def _closed(reason: trio_websocket.CloseReason | None) -> LinkClosedError:
    if reason is None:
        return LinkClosedError("the WebSocket was closed")
    return closed_with(reason.code, reason.reason or "")


# On asyncio


@define(eq=False)
class _AsyncioStream:
    _websocket: websockets.asyncio.client.ClientConnection
    can_send_nowait: bool = False
    unsent_bytes: int = 0

    def send_message_nowait(self, message: bytes) -> bool:  # noqa: ARG002
        return False

    async def send_message(self, message: bytes) -> None:
        try:
            await self._websocket.send(message)
        except websockets.exceptions.ConnectionClosed as error:
            raise _closed_by(error) from None

    async def receive_message(self) -> bytes:
        try:
            return await self._websocket.recv(decode=False)
        except websockets.exceptions.ConnectionClosed as error:
            raise _closed_by(error) from None

    async def aclose(self, reason: str) -> None:
        await self._websocket.close(reason=close_reason(reason) or "")


@asynccontextmanager
async def _connect_on_asyncio(
    url: str, authorization: str, context: ssl.SSLContext | None
) -> AsyncGenerator[MessageStream]:
    try:
        websocket = await websockets.asyncio.client.connect(
            url,
            ssl=context,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers={"authorization": authorization},
            # A room has its own pings, and small messages that are not worth compressing. No
            # timeout of its own: joining a room has one over all of it.
            compression=None,
            ping_interval=None,
            open_timeout=None,
            close_timeout=CLOSE_TIMEOUT,
            max_size=MAX_MESSAGE_BYTES,
            # Or uvloop would keep what is sent until the end of the tick. Not 0, which is always
            # too much for asyncio's TLS.
            write_limit=1,
            proxy=None,
        )
    except websockets.exceptions.InvalidStatus as error:
        raise refusal(url, error.response.status_code, error.response.body) from None
    except (OSError, EOFError, UnicodeError, websockets.exceptions.InvalidHandshake) as error:
        raise failure(url, error) from error
    try:
        _require_subprotocol(url, websocket.subprotocol)
        yield _AsyncioStream(websocket)
    finally:
        with anyio.CancelScope(shield=True):
            await websocket.close()


def _closed_by(error: websockets.exceptions.ConnectionClosed) -> LinkClosedError:
    if error.rcvd is None:
        return LinkClosedError("the connection was lost")
    return closed_with(error.rcvd.code, error.rcvd.reason)


_CONNECT: Final[
    dict[
        str,
        Callable[[str, str, ssl.SSLContext | None], AbstractAsyncContextManager[MessageStream]],
    ]
] = {"trio": _connect_on_trio, "asyncio": _connect_on_asyncio}
