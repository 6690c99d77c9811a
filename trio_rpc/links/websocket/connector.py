"""The connector for the URL of a WebSocket."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol
from urllib.parse import urlencode, urlsplit, urlunsplit

from attrs import frozen
from livekit.protocol import rtc

from ... import concurrency
from ...errors import ConnectError
from ..base import Link, MessageStream
from ..connecting import check_token, without_query
from ..framed import open_framed_link
from . import on_asyncio, on_trio

#: The subprotocol of our clients and servers: frames instead of bare signalling messages.
SUBPROTOCOL: Final = "trio-rpc.v1"
_SCHEMES: Final = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}


class _WebSocket(MessageStream, Protocol):
    @property
    def subprotocol(self) -> str | None: ...


_Connect = Callable[[str, str, str, ssl.SSLContext | None], AbstractAsyncContextManager[_WebSocket]]
_CONNECT: Final[dict[str, _Connect]] = {"trio": on_trio.connect, "asyncio": on_asyncio.connect}


@frozen
class WebSocketConnector:
    """The connector for the URL of a WebSocket.

    Args:
        url: `ws://` or `wss://` (or `http://`, `https://`), the host, and perhaps a port and the
            path that the server is mounted at.
        ssl_context: The certificates to trust, for `wss://`; by default, the system's.
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
        async with connect(url, SUBPROTOCOL, f"Bearer {token}", context) as stream:
            if stream.subprotocol != SUBPROTOCOL:
                raise ConnectError(
                    f"the server at {without_query(url)} does not carry data packets over its "
                    f"WebSocket (subprotocol {SUBPROTOCOL}): it is not a trio_rpc server"
                )
            async with open_framed_link(stream) as link:
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
    # Without user and password, which no server asks for, and which error messages would reveal.
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((scheme, host, path, urlencode(query), ""))
