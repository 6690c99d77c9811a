"""The connector for one of LiveKit's servers."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.util import find_spec

from attrs import field, frozen
from livekit.protocol import rtc

from ...errors import ConnectError
from ..base import Link
from ..connecting import check_token
from ..framed import open_framed_link
from ..websocket import SignallingServer, WebSocket, join_query
from .joining import old_query
from .link import UnreachableError, open_webrtc_link
from .signalling import Membership


@frozen
class LiveKitConnector:
    """The connector for one of LiveKit's servers, with settings that a URL does not have.

    `Room.connect` takes it in place of the URL. Without settings, the URL does as well.

    Args:
        url: `ws://` or `wss://` (or `http://`, `https://`), the host, and perhaps a port.
        ssl_context: The certificates to trust, for `wss://`; by default, the system's.
        uses_stun: Whether to ask the STUN servers that the server names for our public address. By
            default these are public ones of others, such as Google's. They are needed only to reach
            a server that has no public address itself.
    """

    url: str
    ssl_context: ssl.SSLContext | None = None
    uses_stun: bool = field(default=False, kw_only=True)

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncGenerator[Link]:
        check_token(token)
        server = SignallingServer(self.url, self.ssl_context)
        async with open_livekit_link(server, token, request, uses_stun=self.uses_stun) as link:
            yield link


@asynccontextmanager
async def open_livekit_link(
    server: SignallingServer,
    token: str,
    request: rtc.JoinRequest,
    *,
    subprotocols: Sequence[str] = (),
    uses_stun: bool = False,
) -> AsyncGenerator[Link]:
    """Open a link for the block, to a server that is LiveKit's unless it agrees to a subprotocol.

    Where the network lets no UDP through, it is opened a second time, by a TURN server over TLS.

    Args:
        server: The server.
        token: The access token, which has been checked.
        request: The request to join.
        subprotocols: The subprotocols to ask for. If the server agrees to one, the link carries
            everything over the WebSocket, in frames.
        uses_stun: See `LiveKitConnector`.

    Raises:
        ConnectError: no server answered, or it rejected us, or can't be reached over WebRTC, or
            aiortc is not installed.
    """
    async with AsyncExitStack() as stack:
        attempt = partial(_open_link, server, token, request, subprotocols, uses_stun)
        try:
            link = await stack.enter_async_context(attempt(over_tls=False))
        except UnreachableError:
            link = await stack.enter_async_context(attempt(over_tls=True))
        yield link


@asynccontextmanager
async def _open_link(
    server: SignallingServer,
    token: str,
    request: rtc.JoinRequest,
    subprotocols: Sequence[str],
    uses_stun: bool,
    *,
    over_tls: bool,
) -> AsyncGenerator[Link]:
    async with _open_websocket(server, token, request, subprotocols) as (websocket, resumes):
        if websocket.subprotocol is not None:
            opened: AbstractAsyncContextManager[Link] = open_framed_link(websocket)
        else:
            _require_aiortc(server)
            membership = Membership(server, request, token)
            opened = open_webrtc_link(
                websocket, membership, resumes=resumes, uses_stun=uses_stun, over_tls=over_tls
            )
        async with opened as link:
            yield link


@asynccontextmanager
async def _open_websocket(
    server: SignallingServer, token: str, request: rtc.JoinRequest, subprotocols: Sequence[str]
) -> AsyncGenerator[tuple[WebSocket, bool]]:
    """Open the WebSocket of a server's signalling for the block, which is to join.

    Yields:
        The WebSocket, and whether another can resume it. An older server has another signalling,
        and no way to resume.
    """
    async with AsyncExitStack() as stack:
        query = join_query(request)
        opened = server.open("/rtc/v1", query, token, subprotocols)
        resumes = True
        try:
            websocket = await stack.enter_async_context(opened)
        except ConnectError as error:
            if error.status != 404:
                raise
            opened = server.open("/rtc", old_query(request), token)
            websocket = await stack.enter_async_context(opened)
            resumes = False
        yield websocket, resumes


def _require_aiortc(server: SignallingServer) -> None:
    if find_spec("aiortc") is None:
        raise ConnectError(
            f"the server at {server.url} is one of LiveKit's, which carry data over WebRTC: that "
            "needs the extra 'livekit' (pip install 'trio-rpc[livekit]')"
        )
