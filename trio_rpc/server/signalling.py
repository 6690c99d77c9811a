"""Signalling: the WebSockets of participants, which are admitted or rejected here.

| path | clients | carrier of packets |
|---|---|---|
| `/rtc/v1` or `/rtc` with our subprotocol | participants of ours | the same WebSocket |
| `/rtc` | LiveKit's older SDKs | WebRTC, two peer connections |
| `/rtc` with a join request, `/rtc/v1` | LiveKit's SDKs | WebRTC, one peer connection |

The workers of LiveKit Agents register on `/agent`.

A GET of `/rtc/validate` or `/rtc/v1/validate` returns over HTTP why a WebSocket was rejected, which
browsers do not reveal to their pages.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio
from attrs import define, field
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ..errors import RefusedError
from ..links import LinkClosedError, open_framed_link
from ..links.websocket import SUBPROTOCOL, close_reason, closed_with
from ..tokens import Claims, bearer_token
from .admission import Admission
from .agents.dispatcher import AgentDispatcher
from .agents.serving import serve_worker
from .http.asgi_websocket import OUR_WEBSOCKET
from .join_request import JoinParameters, parse_attributes, parse_join_request, parse_query
from .room_server import RoomServer
from .session import serve_member
from .webrtc import LiveKitClients, PeerThread

#: The most parameters in the URL of a joining client: LiveKit's SDKs send some twenty.
_MAX_PARAMETERS: Final = 100
_NO_WEBRTC: Final = (
    "this server admits participants of trio_rpc only: for those of LiveKit's SDKs it has to be "
    "installed with the extra 'livekit'"
)


def signalling_routes(
    server: RoomServer, peers: PeerThread | None, *, allow_compression: bool
) -> list[BaseRoute]:
    """Return the routes that participants join through, and workers of agents register on.

    Args:
        peers: The thread for the peer connections of LiveKit's SDKs; None to reject those.
        allow_compression: See `create_app`.
    """
    admission = server.admission
    clients = None if peers is None else LiveKitClients(admission, peers)
    signalling = _Signalling(admission, server.agents, clients, allow_compression)
    return [
        WebSocketRoute("/rtc", signalling.rtc),
        WebSocketRoute("/rtc/v1", signalling.rtc_v1),
        WebSocketRoute("/agent", signalling.agent),
        Route("/rtc/validate", signalling.validate),
        Route("/rtc/v1/validate", signalling.validate_v1),
        WebSocketRoute("/{path:path}", _not_found),
    ]


@define(eq=False)
class _Signalling:
    _admission: Admission
    _agents: AgentDispatcher
    _livekit_clients: LiveKitClients | None
    _allow_compression: bool

    async def rtc(self, websocket: WebSocket) -> None:
        """Serve a participant of this library, or of one of LiveKit's older SDKs."""
        ours = SUBPROTOCOL in websocket.scope["subprotocols"]
        try:
            with self._admission.joining():
                claims = self._admit(websocket)
                if not ours:
                    self._require_webrtc()
                parameters = _parameters_of(websocket)
                claims = self._admission.describe(claims, parameters)
                await self._accept(websocket, SUBPROTOCOL if ours else None)
        except RefusedError as refusal:
            await _deny(websocket, refusal)
            return
        stream = _StarletteStream(websocket)
        if ours:
            await self._serve_ours(stream, claims, parameters)
        else:
            await self._require_webrtc().serve(stream, claims, parameters)

    async def rtc_v1(self, websocket: WebSocket) -> None:
        """Serve a participant of this library, or of one of LiveKit's current SDKs."""
        if SUBPROTOCOL in websocket.scope["subprotocols"]:
            await self.rtc(websocket)
            return
        try:
            with self._admission.joining():
                claims = self._admit(websocket)
                parameters = self._parse_join_request(websocket)
                claims = self._admission.describe(claims, parameters)
                await self._accept(websocket, None)
        except RefusedError as refusal:
            await _deny(websocket, refusal)
            return
        await self._require_webrtc().serve(_StarletteStream(websocket), claims, parameters)

    async def agent(self, websocket: WebSocket) -> None:
        """Serve a worker of LiveKit Agents."""
        token = _token_of(websocket)
        try:
            with self._admission.joining():
                claims = self._admission.authenticate_worker(token)
                await self._accept(websocket, None)
        except RefusedError as refusal:
            await _deny(websocket, refusal)
            return
        secret = self._admission.secret_of(token, claims)
        stream = _StarletteStream(websocket)
        await serve_worker(self._admission, self._agents, stream, claims, secret)

    async def validate(self, request: Request) -> Response:
        """Respond with the outcome of a WebSocket on `/rtc`."""
        try:
            with self._admission.joining():
                claims = self._admit(request)
                self._require_webrtc()
                self._admission.describe(claims, _validated_parameters_of(request))
        except RefusedError as refusal:
            return _response(refusal)
        return PlainTextResponse("success")

    async def validate_v1(self, request: Request) -> Response:
        """Respond with the outcome of a WebSocket on `/rtc/v1`."""
        try:
            with self._admission.joining():
                claims = self._admit(request)
                self._admission.describe(claims, self._parse_join_request(request))
        except RefusedError as refusal:
            return _response(refusal)
        return PlainTextResponse("success")

    def _admit(self, connection: HTTPConnection) -> Claims:
        if connection.scope["query_string"].count(b"&") >= _MAX_PARAMETERS:
            raise RefusedError(400, f"the URL has more than {_MAX_PARAMETERS} parameters")
        claims = self._admission.authenticate(_token_of(connection))
        self._admission.check_space(claims)
        return claims

    async def _accept(self, websocket: WebSocket, subprotocol: str | None) -> None:
        if not self._allow_compression and _may_be_compressed(websocket):
            raise RefusedError(
                400, "this server takes no compressed WebSocket messages (permessage-deflate)"
            )
        await websocket.accept(subprotocol)

    def _parse_join_request(self, connection: HTTPConnection) -> JoinParameters:
        # Without WebRTC there is no such path: SDKs then try /rtc, and get the reason there.
        self._require_webrtc(status=404)
        return _join_parameters_of(connection)

    def _require_webrtc(self, status: int = 400) -> LiveKitClients:
        if self._livekit_clients is None:
            raise RefusedError(status, _NO_WEBRTC)
        return self._livekit_clients

    async def _serve_ours(
        self, stream: _StarletteStream, claims: Claims, parameters: JoinParameters
    ) -> None:
        limit = self._admission.limits.max_queue_bytes
        async with open_framed_link(stream, max_queue_bytes=limit) as link:
            await serve_member(self._admission, link, claims, parameters)


def _parameters_of(connection: HTTPConnection) -> JoinParameters:
    if "join_request" in connection.query_params:
        return _join_parameters_of(connection)
    return parse_query(connection.query_params)


def _validated_parameters_of(connection: HTTPConnection) -> JoinParameters:
    try:
        parse_attributes(connection.query_params)
    except ValueError as error:
        raise RefusedError(400, str(error)) from None
    return _parameters_of(connection)


def _join_parameters_of(connection: HTTPConnection) -> JoinParameters:
    try:
        return parse_join_request(connection.query_params)
    except ValueError as error:
        raise RefusedError(400, str(error)) from None


def _response(refusal: RefusedError) -> PlainTextResponse:
    return PlainTextResponse(refusal.reason, status_code=refusal.status)


async def _deny(websocket: WebSocket, refusal: RefusedError) -> None:
    await websocket.send_denial_response(_response(refusal))


async def _not_found(websocket: WebSocket) -> None:
    # Starlette's own answer would be 403; LiveKit's SDKs fall back to /rtc on 404 (V10).
    text = f"there is no {websocket.url.path} here; signalling is on /rtc"
    await _deny(websocket, RefusedError(404, text))


def _may_be_compressed(websocket: WebSocket) -> bool:
    # Some servers agree, and inflate a small frame to any size. An app cannot forbid it.
    if OUR_WEBSOCKET in websocket.scope.get("extensions", ()):
        return False
    return "permessage-deflate" in websocket.headers.get("sec-websocket-extensions", "")


def _token_of(connection: HTTPConnection) -> str:
    token = bearer_token(connection.headers.get("authorization", ""))
    return token or connection.query_params.get("access_token", "")


#: The exceptions of sending when the WebSocket is closed, or being closed: on trio, hypercorn
#: raises that its socket is busy.
_CLOSED: Final = (WebSocketDisconnect, RuntimeError, OSError, trio.BusyResourceError)


def _sends_nothing(_message: bytes) -> bool:
    return False


def _knows_nothing() -> int:
    return 0


@define(eq=False)
class _StarletteStream:
    """A `MessageStream` over an accepted WebSocket."""

    _websocket: WebSocket
    can_send_nowait: bool = field(init=False)
    _send_bytes_nowait: Callable[[bytes], bool] = field(init=False)
    _unsent_bytes: Callable[[], int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        # Only our own server can; ASGI has no such function.
        extension = self._websocket.scope.get("extensions", {}).get(OUR_WEBSOCKET, {})
        self.can_send_nowait = bool(extension)
        self._send_bytes_nowait = extension.get("send_bytes_nowait", _sends_nothing)
        self._unsent_bytes = extension.get("unsent_bytes", _knows_nothing)

    @property
    def unsent_bytes(self) -> int:
        return self._unsent_bytes()

    def send_message_nowait(self, message: bytes) -> bool:
        try:
            return self._send_bytes_nowait(message)
        except OSError as error:
            raise LinkClosedError(f"the WebSocket is closed: {error!r}") from None

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
            raise closed_with(message.get("code", 1005), message.get("reason") or "")
        data: bytes | None = message.get("bytes")
        return message["text"].encode() if data is None else data

    async def aclose(self, reason: str) -> None:
        websocket = self._websocket
        if WebSocketState.DISCONNECTED in (websocket.client_state, websocket.application_state):
            return
        # The other side may have closed it in the meantime.
        with suppress(*_CLOSED):
            await websocket.close(reason=close_reason(reason))
