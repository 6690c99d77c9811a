"""An HTTP server for an ASGI app."""

from __future__ import annotations

import socket
import ssl

from attrs import define, field
from starlette.types import ASGIApp
from websockets.exceptions import InvalidHeader

from ... import concurrency
from ...concurrency import Event
from ...net.byte_streams import ByteStream
from ...net.handshakes import PendingHandshakes, address_of
from ...net.listening import serve_connections
from ...net.tls import TlsByteStream
from .asgi import Address, Endpoints, HttpExchange
from .asgi_websocket import WebSocketExchange
from .connection import HttpConnection, HttpLimits, PeerGoneError, asks_for_websocket


async def serve_http(
    app: ASGIApp,
    listener: socket.socket,
    stop: Event,
    limits: HttpLimits,
    ssl_context: ssl.SSLContext | None = None,
) -> None:
    """Serve an ASGI app until `stop` is set, and open connections for a while longer.

    Args:
        app: The app, which is not asked for a lifespan.
        listener: A non-blocking socket that listens already; closed once `stop` is set.
        stop: The event that ends the server.
        limits: The limits of each connection.
        ssl_context: The context for TLS; None without TLS.
    """
    handshakes = PendingHandshakes(
        limits.max_handshakes, limits.max_handshakes_per_address, concurrency.current()
    )
    server = _HttpServer(app, limits, handshakes, ssl_context)
    await serve_connections(
        listener,
        server.serve_connection,
        stop,
        on_stop=server.stop,
        graceful_timeout=limits.graceful_timeout,
    )


@define(eq=False)
class _HttpServer:
    _app: ASGIApp
    _limits: HttpLimits
    _handshakes: PendingHandshakes
    _ssl_context: ssl.SSLContext | None
    _connections: set[HttpConnection] = field(factory=set[HttpConnection], init=False)
    _stopped: bool = field(default=False, init=False)

    def stop(self) -> None:
        """Have connections accept no further request."""
        self._stopped = True
        for connection in self._connections:
            connection.stop()

    async def serve_connection(self, accepted: socket.socket, stream: ByteStream) -> None:
        """Serve a connection to its end."""
        client, server = _addresses(accepted)
        address = address_of(accepted)
        endpoints = Endpoints(client, server, encrypted=self._ssl_context is not None)
        connection = HttpConnection(
            await self._encrypted(stream, address), self._limits, self._handshakes, address
        )
        await self._answer(connection, endpoints)
        await connection.finish()

    async def _encrypted(self, stream: ByteStream, address: str | None) -> ByteStream:
        if self._ssl_context is None:
            return stream
        tls = TlsByteStream(stream, self._ssl_context)
        with self._handshakes.open(address, self._limits.request_timeout) as handshake:
            await tls.shake_hands()
            return tls
        raise PeerGoneError(handshake.rejection or "the TLS handshake took too long")

    async def _answer(self, connection: HttpConnection, endpoints: Endpoints) -> None:
        if self._stopped:
            return
        self._connections.add(connection)
        try:
            while (request := await connection.receive_request()) is not None:
                if asks_for_websocket(request):
                    scope = endpoints.scope("websocket", request)
                    try:
                        exchange = WebSocketExchange(connection, request)
                    except InvalidHeader:
                        await connection.refuse(400, "a header holds what no header may hold")
                        return
                    await exchange.run(self._app, scope)
                    return
                scope = endpoints.scope("http", request)
                await HttpExchange(connection, request).run(self._app, scope)
                if not connection.is_kept_alive():
                    return
        finally:
            self._connections.discard(connection)


def _addresses(connection: socket.socket) -> tuple[Address | None, Address | None]:
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return None, None
    try:
        return connection.getpeername()[:2], connection.getsockname()[:2]
    except OSError as error:
        raise PeerGoneError(str(error)) from None
