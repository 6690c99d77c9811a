"""A TCP proxy between a participant and its server, which breaks connections on purpose."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.abc
from attrs import define, field

from .serving import port_of

_ENDED = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError)


@define(eq=False)
class _Connection:
    """A connection of a client, and the one to the server that belongs to it."""

    client: anyio.abc.SocketStream
    server: anyio.abc.SocketStream
    scope: anyio.CancelScope = field(factory=anyio.CancelScope)
    is_half_open: bool = False


class Proxy:
    """A proxy, which forwards bytes by default.

    Attributes:
        url: The URL of the server, by way of the proxy.
        server_port: The port that new connections are forwarded to.
        connections: The number of connections that were accepted.
    """

    def __init__(self, url: str, port: int, host: str) -> None:
        self._host = host
        self.url = f"{url.rpartition(':')[0]}:{port}"
        self.connections = 0
        self.server_port = port_of(url)
        self._open: set[_Connection] = set()
        self._stalled = anyio.Event()
        self._stalled.set()
        self._refuses = False

    def cut(self) -> None:
        """End all connections."""
        for connection in self._open:
            connection.scope.cancel()

    def half_open(self) -> None:
        """Forward nothing more on the present connections, without telling either side."""
        for connection in self._open:
            connection.is_half_open = True

    def switch_to(self, url: str) -> None:
        """Forward to another server from now on, and end all connections."""
        self._server_port = port_of(url)
        self.cut()

    def refuse(self, refuses: bool = True) -> None:
        """Close new connections at once, or take them again."""
        self._refuses = refuses

    def stall(self) -> None:
        """Forward nothing, in either direction, until `flow`."""
        if self._stalled.is_set():
            self._stalled = anyio.Event()

    def flow(self) -> None:
        """Forward again, beginning with what has come since `stall`."""
        self._stalled.set()

    async def serve_connection(self, client: anyio.abc.SocketStream) -> None:
        """Forward one connection until either side ends it."""
        self.connections += 1
        async with client:
            if self._refuses:
                return
            with suppress(OSError):
                async with await anyio.connect_tcp(self._host, self.server_port) as server:
                    await self._serve(_Connection(client, server))

    async def _serve(self, connection: _Connection) -> None:
        client, server = connection.client, connection.server
        with connection.scope:
            self._open.add(connection)
            try:
                async with anyio.create_task_group() as task_group:
                    task_group.start_soon(self._forward, connection, client, server)
                    task_group.start_soon(self._forward, connection, server, client)
            finally:
                self._open.remove(connection)

    async def _forward(
        self,
        connection: _Connection,
        source: anyio.abc.SocketStream,
        target: anyio.abc.SocketStream,
    ) -> None:
        with suppress(*_ENDED):
            while True:
                data = await source.receive()
                await self._stalled.wait()
                if not connection.is_half_open:
                    await target.send(data)
        # The other side of a half-open connection goes on waiting.
        if not connection.is_half_open:
            connection.scope.cancel()


@asynccontextmanager
async def open_proxy(url: str, host: str = "127.0.0.1") -> AsyncIterator[Proxy]:
    """Run a proxy in front of the server at a URL, on the same host."""
    async with await anyio.create_tcp_listener(local_host=host) as listener:
        proxy = Proxy(url, listener.extra(anyio.abc.SocketAttribute.local_port), host)
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(listener.serve, proxy.serve_connection)
            try:
                yield proxy
            finally:
                task_group.cancel_scope.cancel()
