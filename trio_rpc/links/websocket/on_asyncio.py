"""WebSockets of clients on asyncio: websockets."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio
import websockets.asyncio.client
import websockets.exceptions
from attrs import define
from websockets.protocol import State
from websockets.typing import Subprotocol

from ..base import LinkClosedError
from ..connecting import MAX_MESSAGE_BYTES, failure, refusal
from ..framed import CLOSE_TIMEOUT
from .closing import close_reason, closed_with
from .data_frames import encode_message

#: Without the level at which websockets logs all headers, and the token in one of them.
_logger: Final = logging.getLogger(__name__)
_logger.setLevel(logging.INFO)


@define(eq=False)
class WebSocketStream:
    """The messages of a WebSocket; see `MessageStream`.

    Attributes:
        subprotocol: The subprotocol that the server agreed to, if any.
    """

    _websocket: websockets.asyncio.client.ClientConnection
    subprotocol: str | None
    can_send_nowait: bool = True

    @property
    def unsent_bytes(self) -> int:
        return self._websocket.transport.get_write_buffer_size()

    def send_message_nowait(self, message: bytes) -> bool:
        # If it is closed, `send_message` tells why.
        if self._websocket.state is not State.OPEN or self.unsent_bytes:
            return False
        self._websocket.transport.write(encode_message(message))
        return True

    async def send_message(self, message: bytes) -> None:
        try:
            await self._websocket.send(message)
        except websockets.exceptions.ConnectionClosed as error:
            raise _closed(error) from None

    async def receive_message(self) -> bytes:
        try:
            return await self._websocket.recv(decode=False)
        except websockets.exceptions.ConnectionClosed as error:
            raise _closed(error) from None

    async def aclose(self, reason: str) -> None:
        await self._websocket.close(reason=close_reason(reason) or "")


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
    try:
        websocket = await websockets.asyncio.client.connect(
            url,
            ssl=context,
            subprotocols=[Subprotocol(each) for each in subprotocols] or None,
            additional_headers={"authorization": f"Bearer {token}"},
            logger=_logger,
            # A room has its own pings, and small messages that are not worth compressing. No
            # timeout of its own: joining a room has one over all of it.
            compression=None,
            ping_interval=None,
            open_timeout=None,
            close_timeout=CLOSE_TIMEOUT,
            max_size=MAX_MESSAGE_BYTES,
            # With a larger limit, uvloop would keep data until the end of the tick. With 0,
            # asyncio's TLS would always be over it.
            write_limit=1,
            proxy=None,
        )
    except websockets.exceptions.InvalidStatus as error:
        raise refusal(url, error.response.status_code, error.response.body, token) from None
    except (OSError, EOFError, UnicodeError, websockets.exceptions.InvalidHandshake) as error:
        raise failure(url, error) from error
    try:
        yield WebSocketStream(websocket, websocket.subprotocol)
    finally:
        with anyio.CancelScope(shield=True):
            await websocket.close()


def _closed(error: websockets.exceptions.ConnectionClosed) -> LinkClosedError:
    if error.rcvd is None:
        return LinkClosedError("the connection was lost")
    return closed_with(error.rcvd.code, error.rcvd.reason)
