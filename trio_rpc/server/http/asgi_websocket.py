"""Running an ASGI app for a WebSocket."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any, Final

import h11
from starlette.types import ASGIApp, Message, Scope
from websockets.datastructures import Headers
from websockets.frames import CloseCode
from websockets.headers import parse_subprotocol
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from ...protocol.logs import peer_logger
from .asgi import run_app
from .connection import HttpConnection, response
from .websocket import ServerWebSocket, WebSocketClosedError

#: In the `extensions` of a scope: a WebSocket of this server, which is never compressed. Its
#: `send_bytes_nowait` sends a message if that is possible without waiting, and returns whether it
#: did; `unsent_bytes` returns the bytes that the socket has not taken.
OUR_WEBSOCKET: Final = "trio_rpc.websocket"

#: Headers that `websockets` splits at each comma, which takes it a millisecond for each kilobyte.
_LISTS: Final = (b"connection", b"sec-websocket-protocol")
#: The most that these may have together.
_MAX_LIST_BYTES: Final = 1024

# It would log the contents of messages, and each connection.
_protocol_logger: Final = peer_logger(f"{__name__}.protocol")
_protocol_logger.setLevel(logging.WARNING)


class WebSocketExchange:
    """A WebSocket from its handshake to its end, as an app sees it."""

    def __init__(self, connection: HttpConnection, request: h11.Request) -> None:
        limits = connection.limits
        headers = Headers(
            [(name.decode(), value.decode("latin-1")) for name, value in request.headers]
        )
        protocol = ServerProtocol(
            state=State.OPEN, max_size=limits.max_message_bytes, logger=_protocol_logger
        )
        self._connection = connection
        self._offered = headers.get_all("Sec-WebSocket-Protocol")
        if sum(len(value) for name, value in request.headers if name in _LISTS) > _MAX_LIST_BYTES:
            text = f"Connection and Sec-WebSocket-Protocol have more than {_MAX_LIST_BYTES} bytes"
            self._handshake = protocol.reject(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text)
        else:
            self._handshake = protocol.accept(Request(request.target.decode(), headers))
        self._websocket = ServerWebSocket(connection.stream, protocol, limits.close_timeout)
        # The progress of the handshake
        self._connect_received = False
        self._accepted = False
        self._denial: h11.Response | None = None

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Run the app, which answers the handshake, and talks to the peer if it accepts."""
        if self._handshake.status_code != 101:
            text = bytes(self._handshake.body).decode().strip()
            await self._connection.refuse(self._handshake.status_code, text)
            return
        scope["subprotocols"] = [
            subprotocol for value in self._offered for subprotocol in parse_subprotocol(value)
        ]
        scope["extensions"] = {
            "websocket.http.response": {},
            OUR_WEBSOCKET: {
                "send_bytes_nowait": self._websocket.send_nowait,
                "unsent_bytes": self._websocket.unsent_bytes,
            },
        }
        succeeded = await run_app(app, scope, self.receive, self.send)
        if self._accepted:
            code = CloseCode.NORMAL_CLOSURE if succeeded else CloseCode.INTERNAL_ERROR
            await self._websocket.close(code, "")
        else:
            await self._connection.refuse(500, "Internal Server Error")

    async def receive(self) -> Message:
        if not self._connect_received:
            self._connect_received = True
            return {"type": "websocket.connect"}
        if not self._accepted:
            raise RuntimeError("nothing can be received before the WebSocket was accepted")
        try:
            message = await self._websocket.receive()
        except WebSocketClosedError as error:
            return {
                "type": "websocket.disconnect",
                "code": int(error.code),
                "reason": error.reason,
            }
        kind = "text" if isinstance(message, str) else "bytes"
        return {"type": "websocket.receive", kind: message}

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if self._accepted and kind == "websocket.send":
            data: bytes | None = message.get("bytes")
            await self._websocket.send(message["text"] if data is None else data)
        elif self._accepted and kind == "websocket.close":
            await self._websocket.close(message.get("code", 1000), message.get("reason") or "")
        elif kind == "websocket.accept":
            await self._accept(message.get("subprotocol"), message.get("headers", ()))
        elif kind == "websocket.close":
            await self._connection.refuse(403, "Forbidden")
        elif kind == "websocket.http.response.start":
            headers = [*message.get("headers", ()), (b"connection", b"close")]
            self._denial = response(message["status"], headers)
        elif kind == "websocket.http.response.body":
            await self._deny(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"{kind} is out of place here")

    async def _accept(self, subprotocol: str | None, headers: Any) -> None:
        ours = self._handshake.headers
        if subprotocol is not None:
            ours["Sec-WebSocket-Protocol"] = subprotocol
        own = [(name.encode(), value.encode()) for name, value in ours.raw_items()]
        early = await self._connection.switch_protocols([*own, *headers])
        self._accepted = True
        if early:
            self._websocket.feed(early)

    async def _deny(self, body: bytes, more_body: bool) -> None:
        await self._connection.send(
            *([] if self._denial is None else [self._denial]),
            h11.Data(data=body),
            *([] if more_body else [h11.EndOfMessage()]),
        )
        self._denial = None
