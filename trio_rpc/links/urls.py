"""The choice of a connector by URL."""

from __future__ import annotations

import ssl

from .base import Connector
from .server_connector import ServerConnector
from .stream import SCHEMES, StreamConnector


def connector_for(url: str, ssl_context: ssl.SSLContext | None = None) -> Connector:
    """Return the connector for a URL. An invalid URL is reported by `open_link`.

    Args:
        ssl_context: The certificates to trust, for `wss://` and `tls://`; by default, the system's.
    """
    if url.partition(":")[0].lower() in SCHEMES:
        return StreamConnector(url, ssl_context)
    return ServerConnector(url, ssl_context)
