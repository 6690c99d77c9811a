"""The connector for one of LiveKit's servers."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec

from attrs import field, frozen
from livekit.protocol import rtc

from ...errors import ConnectError
from ..base import Link, MessageStream
from ..connecting import check_token
from ..websocket import SignallingServer, WebSocket, join_query
from .joining import livekit_request, old_query
from .link import open_webrtc_link
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
        async with (
            open_livekit_websocket(server, token, request) as (websocket, resumes),
            open_livekit_link(
                server, websocket, token, request, resumes=resumes, uses_stun=self.uses_stun
            ) as link,
        ):
            yield link


@asynccontextmanager
async def open_livekit_websocket(
    server: SignallingServer,
    token: str,
    request: rtc.JoinRequest,
    subprotocols: Sequence[str] = (),
) -> AsyncGenerator[tuple[WebSocket, bool]]:
    """Open the WebSocket of a server's signalling for the block, which is to join.

    Yields:
        The WebSocket, and whether another can resume it. An older server has another signalling,
        and no way to resume.

    Raises:
        ConnectError: no server answered, or it refused.
    """
    async with AsyncExitStack() as stack:
        query = join_query(livekit_request(request))
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


@asynccontextmanager
async def open_livekit_link(
    server: SignallingServer,
    websocket: MessageStream,
    token: str,
    request: rtc.JoinRequest,
    *,
    resumes: bool,
    uses_stun: bool = False,
) -> AsyncGenerator[Link]:
    """Open the link over a WebSocket of `open_livekit_websocket` for the block.

    Raises:
        ConnectError: aiortc is not installed, the server rejected us, or it can't be reached over
            WebRTC.
    """
    if find_spec("aiortc") is None:
        raise ConnectError(
            f"the server at {server.url} is one of LiveKit's, which carry data over WebRTC: that "
            "needs the extra 'livekit' (pip install 'trio-rpc[livekit]')"
        )
    membership = Membership(server, livekit_request(request), token)
    async with open_webrtc_link(
        websocket, membership, resumes=resumes, uses_stun=uses_stun
    ) as link:
        yield link
