"""Which link a URL asks for."""

from __future__ import annotations

import ssl

from .base import Connector
from .stream import SCHEMES, StreamConnector
from .websocket import WebSocketConnector


def connector_for(url: str, ssl_context: ssl.SSLContext | None = None) -> Connector:
    """Who opens links to the server at a URL; one that is none is refused when it does.

    Args:
        ssl_context: For `wss://` and `tls://`: which certificates to trust; the system's unless
            given.
    """
    if url.partition(":")[0].lower() in SCHEMES:
        return StreamConnector(url, ssl_context)
    return WebSocketConnector(url, ssl_context)
