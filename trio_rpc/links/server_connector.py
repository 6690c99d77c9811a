"""The connector for the URL of a room server: one of ours, or one of LiveKit's.

An opened WebSocket is a participant that joins, so a server cannot be asked twice. There is one
attempt, on `/rtc/v1` with the subprotocol of `frames`, and the answer tells which server it is:

    101 with the subprotocol ──────► ours: frames, data packets included, over this WebSocket
    101 without it ────────────────► LiveKit's: signalling over this WebSocket, data over WebRTC
    404 ───────────────────────────► an older one of LiveKit's: the same with its older signalling
    any other status ──────────────► `ConnectError`
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from attrs import frozen
from livekit.protocol import rtc

from .base import Link
from .connecting import check_token
from .webrtc import open_livekit_link
from .websocket import SUBPROTOCOL, SignallingServer


@frozen
class ServerConnector:
    """The connector for the URL of a room server.

    Args:
        url: `ws://` or `wss://` (or `http://`, `https://`), the host, and perhaps a port and the
            path that the server is mounted at.
        ssl_context: The certificates to trust, for `wss://`; by default, the system's.
    """

    url: str
    ssl_context: ssl.SSLContext | None = None

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncGenerator[Link]:
        check_token(token)
        server = SignallingServer(self.url, self.ssl_context)
        async with open_livekit_link(server, token, request, subprotocols=[SUBPROTOCOL]) as link:
            yield link
