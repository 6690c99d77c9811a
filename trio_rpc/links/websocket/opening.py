"""Opening the WebSocket of a room server's signalling."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol
from urllib.parse import urlencode, urlsplit, urlunsplit

from attrs import frozen
from livekit.protocol import rtc

from ... import concurrency
from ...errors import ConnectError
from ..base import MessageStream

#: The subprotocol of our clients and servers: frames instead of bare signalling messages.
SUBPROTOCOL: Final = "trio-rpc.v1"
_SCHEMES: Final = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}


class WebSocket(MessageStream, Protocol):
    """A WebSocket as a stream of messages.

    Attributes:
        subprotocol: The subprotocol that the server agreed to, if any.
    """

    subprotocol: str | None


class _Connect(Protocol):
    def __call__(
        self, url: str, subprotocols: Sequence[str], token: str, context: ssl.SSLContext | None
    ) -> AbstractAsyncContextManager[WebSocket]: ...


def _connect_on(backend: str) -> _Connect:
    """Return the opening of a WebSocket on a backend; a program imports the library of its own."""
    if backend == "trio":
        from .on_trio import connect as connect_on_trio

        return connect_on_trio
    from .on_asyncio import connect as connect_on_asyncio

    return connect_on_asyncio


@frozen
class SignallingServer:
    """A room server, as the WebSockets of its signalling are opened.

    Args:
        url: `ws://` or `wss://` (or `http://`, `https://`), the host, and perhaps a port and the
            path that the server is mounted at.
        ssl_context: The certificates to trust, for `wss://`; by default, the system's.
    """

    url: str
    ssl_context: ssl.SSLContext | None = None

    def open(
        self, path: str, query: Mapping[str, str], token: str, subprotocols: Sequence[str] = ()
    ) -> AbstractAsyncContextManager[WebSocket]:
        """Open a WebSocket for a block.

        Args:
            path: The path below that of the server.
            query: The parameters of the URL.
            token: The access token, which has been checked.
            subprotocols: The subprotocols to ask for.

        Raises:
            ConnectError: the URL is invalid, no server answered, or it refused.
        """
        url = _websocket_url(self.url, path, query)
        context = self.ssl_context
        if context is None and url.startswith("wss:"):
            context = ssl.create_default_context()
        connect = _connect_on(concurrency.current().name)
        return connect(url, subprotocols, token, context)


def join_query(request: rtc.JoinRequest) -> dict[str, str]:
    """Return the parameters of the URL that carry a request to join."""
    wrapped = rtc.WrappedJoinRequest(join_request=request.SerializeToString())
    return {"join_request": base64.urlsafe_b64encode(wrapped.SerializeToString()).decode()}


def _websocket_url(url: str, path: str, query: Mapping[str, str]) -> str:
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
    # Without user and password, which no server asks for, and which error messages would reveal.
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((scheme, host, parts.path.rstrip("/") + path, urlencode(query), ""))
