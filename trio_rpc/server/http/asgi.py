"""Running an ASGI app for an HTTP request.

The app runs in the connection's own task, and reads from the socket by calling `receive`. So only
data that the app asks for is read, and no queue in between can grow.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias
from urllib.parse import unquote_to_bytes

import h11
from attrs import frozen
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from ...concurrency import failure_in
from ...protocol.logs import peer_logger
from .connection import HttpConnection, PeerGoneError, response

Address: TypeAlias = tuple[str, int]

logger = peer_logger(__name__)

_DISCONNECT: Final = {"type": "http.disconnect"}
#: The exceptions of an app whose peer is gone, raised by us or by Starlette.
_DISCONNECTED: Final = (PeerGoneError, ClientDisconnect, WebSocketDisconnect)


@frozen
class Endpoints:
    """The two ends of a connection, for an ASGI scope; None where the socket has no address."""

    client: Address | None
    server: Address | None
    encrypted: bool

    def scope(self, kind: Literal["http", "websocket"], request: h11.Request) -> Scope:
        """Return the ASGI scope of a request."""
        raw_path, _, query = request.target.partition(b"?")
        scheme = "ws" if kind == "websocket" else "http"
        return {
            "type": kind,
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": request.http_version.decode(),
            "method": request.method.decode(),
            "scheme": f"{scheme}s" if self.encrypted else scheme,
            "path": unquote_to_bytes(raw_path).decode(errors="replace"),
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": list(request.headers),
            "client": self.client,
            "server": self.server,
            "extensions": {},
        }


async def run_app(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> bool:
    """Run an app, and return whether it returned; an exception is logged."""
    try:
        await app(scope, receive, send)
    except BaseException as error:
        failure = failure_in(error)
        if failure is None:
            raise
        if isinstance(failure, _DISCONNECTED):
            logger.debug("the peer was gone before the answer on %s: %s", scope["path"], failure)
        else:
            logger.error("the app failed on %s", scope["path"], exc_info=failure)
        return False
    return True


class HttpExchange:
    """A request and its response, as an app sees them."""

    def __init__(self, connection: HttpConnection, request: h11.Request) -> None:
        self._connection = connection
        self._body_ended = False
        self._head: h11.Response | None = None
        self._has_no_body = request.method == b"HEAD"
        self._ended = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Have the app answer."""
        await run_app(app, scope, self.receive, self.send)
        if not self._ended:
            await self._connection.refuse(500, "Internal Server Error")

    async def receive(self) -> Message:
        if self._body_ended:
            if not self._ended:
                await self._connection.wait_gone()
            return _DISCONNECT
        try:
            event = await self._connection.receive_event()
        except h11.RemoteProtocolError as error:
            self._body_ended = self._ended = True
            await self._connection.refuse(error.error_status_hint, str(error))
            return _DISCONNECT
        if isinstance(event, h11.Data):
            return {"type": "http.request", "body": bytes(event.data), "more_body": True}
        self._body_ended = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        if self._ended:
            raise PeerGoneError("the exchange has ended")
        if message["type"] == "http.response.start":
            status = message["status"]
            self._has_no_body = self._has_no_body or status in (204, 304)
            # Sent with the beginning of the body.
            self._head = response(status, message.get("headers", ()))
            return
        if message["type"] != "http.response.body":
            raise ValueError(f"an HTTP response has no {message['type']}")
        body, more_body = message.get("body", b""), message.get("more_body", False)
        await self._connection.send(
            *([] if self._head is None else [self._head]),
            *([h11.Data(data=body)] if body and not self._has_no_body else []),
            *([] if more_body else [h11.EndOfMessage()]),
        )
        self._head = None
        self._ended = not more_body
