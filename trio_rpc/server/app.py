"""The ASGI app of a room server: LiveKit's signalling on `/rtc`, and a health check on `/`.

It runs on trio and on asyncio alike, on its own (`serve`) or mounted in a Starlette or FastAPI app.
It has no lifespan of its own; docs/howto/mount-in-fastapi.md has how an app that mounts it says
goodbye to the participants.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import trio
from attrs import define
from livekit.protocol import models
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ..links import LinkClosedError, open_framed_link
from ..links.websocket import SUBPROTOCOL, close_reason
from ..tokens import InvalidTokenError
from .room_server import JoinRefusedError, RoomServer
from .sessions import serve_member


def create_app(server: RoomServer) -> Starlette:
    """The ASGI app of a room server.

    Clients connect to `ws://host/path`, where `path` is what the app is mounted at.
    """

    async def health(_request: Request) -> PlainTextResponse:
        if server.shutting_down:
            return PlainTextResponse("shutting down", status_code=503)
        return PlainTextResponse("OK")

    async def rtc(websocket: WebSocket) -> None:
        await _serve_websocket(server, websocket)

    async def not_found(websocket: WebSocket) -> None:
        # Starlette's own answer would be 403; LiveKit's SDKs fall back to /rtc on 404 (V10).
        await _deny(websocket, 404, f"there is no {websocket.url.path} here; signalling is on /rtc")

    return Starlette(
        routes=[
            Route("/", health),
            WebSocketRoute("/rtc", rtc),
            WebSocketRoute("/{path:path}", not_found),
        ]
    )


async def _serve_websocket(server: RoomServer, websocket: WebSocket) -> None:
    try:
        claims = server.authenticate(_token_of(websocket))
        with server.admission():
            server.check_space(claims)
            if SUBPROTOCOL not in websocket.scope["subprotocols"]:
                text = f"this server wants the WebSocket subprotocol {SUBPROTOCOL}"
                return await _deny(websocket, 400, text)
            if "permessage-deflate" in websocket.headers.get("sec-websocket-extensions", ""):
                # hypercorn would agree, and inflate a small frame to whatever it becomes.
                text = "this server takes no compressed WebSocket messages (permessage-deflate)"
                return await _deny(websocket, 400, text)
            await websocket.accept(SUBPROTOCOL)
    except InvalidTokenError as error:
        return await _deny(websocket, 401, str(error))
    except JoinRefusedError as error:
        return await _deny(websocket, error.status, str(error))
    stream = _StarletteStream(websocket)
    async with open_framed_link(stream, max_queue_bytes=server.limits.max_queue_bytes) as link:
        try:
            await serve_member(server, link, claims, _client_of(websocket))
        except JoinRefusedError as error:
            await link.aclose(str(error))


async def _deny(websocket: WebSocket, status: int, text: str) -> None:
    await websocket.send_denial_response(PlainTextResponse(text, status_code=status))


def _token_of(websocket: WebSocket) -> str:
    scheme, _, token = websocket.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    return websocket.query_params.get("access_token", "")


def _client_of(websocket: WebSocket) -> models.ClientInfo:
    """What a client says of itself, where that can be understood."""
    query = websocket.query_params
    client = models.ClientInfo(version=query.get("version", "")[:64])
    client_protocol = query.get("client_protocol", "")[:4]
    if client_protocol.isascii() and client_protocol.isdigit():
        client.client_protocol = min(int(client_protocol), 1_000)
    capabilities = [each for each in query.get("capabilities", "")[:100].split(",") if each]
    if all(each.isascii() and each.isdigit() for each in capabilities):
        client.capabilities.extend(min(int(each), 65_535) for each in capabilities)  # type: ignore[misc]
    return client


#: What sending raises when the WebSocket is closed, or is being closed just now: hypercorn on trio
#: lets out that its socket is busy with that.
_CLOSED: Final = (WebSocketDisconnect, RuntimeError, OSError, trio.BusyResourceError)


@define(eq=False)
class _StarletteStream:
    """A `MessageStream` over a WebSocket that was accepted."""

    _websocket: WebSocket

    async def send_message(self, message: bytes) -> None:
        try:
            await self._websocket.send_bytes(message)
        except _CLOSED as error:
            raise LinkClosedError(f"the WebSocket is closed: {error!r}") from None

    async def receive_message(self) -> bytes:
        try:
            message = await self._websocket.receive()
        except RuntimeError:
            raise LinkClosedError("the WebSocket was closed here") from None
        if message["type"] == "websocket.disconnect":
            raise LinkClosedError(f"the WebSocket was closed with {message.get('code')}")
        data: bytes | None = message.get("bytes")
        return message["text"].encode() if data is None else data

    async def aclose(self, reason: str) -> None:
        websocket = self._websocket
        if WebSocketState.DISCONNECTED in (websocket.client_state, websocket.application_state):
            return
        # The other side may have closed it in the meantime.
        with suppress(*_CLOSED):
            await websocket.close(reason=close_reason(reason))
