"""A TCP proxy between a participant and its server, which breaks connections on purpose."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.abc

from .serving import port_of

_ENDED = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError)


class Proxy:
    """A proxy, which forwards bytes by default.

    Attributes:
        url: The URL of the server, by way of the proxy.
        connections: The number of connections that were accepted.
    """

    def __init__(self, url: str, port: int) -> None:
        self.url = f"{url.rpartition(':')[0]}:{port}"
        self.connections = 0
        self._server_port = port_of(url)
        self._scopes: set[anyio.CancelScope] = set()
        self._stalled = anyio.Event()
        self._stalled.set()
        self._refuses = False

    def cut(self) -> None:
        """End all connections."""
        for scope in self._scopes:
            scope.cancel()

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
            server = await anyio.connect_tcp("127.0.0.1", self._server_port)
            async with server:
                with anyio.CancelScope() as scope:
                    self._scopes.add(scope)
                    try:
                        async with anyio.create_task_group() as task_group:
                            task_group.start_soon(self._forward, client, server, scope)
                            task_group.start_soon(self._forward, server, client, scope)
                    finally:
                        self._scopes.remove(scope)

    async def _forward(
        self,
        source: anyio.abc.SocketStream,
        target: anyio.abc.SocketStream,
        scope: anyio.CancelScope,
    ) -> None:
        with suppress(*_ENDED):
            while True:
                data = await source.receive()
                await self._stalled.wait()
                await target.send(data)
        scope.cancel()


@asynccontextmanager
async def open_proxy(url: str) -> AsyncIterator[Proxy]:
    """Run a proxy in front of the server at a URL."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        proxy = Proxy(url, listener.extra(anyio.abc.SocketAttribute.local_port))
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(listener.serve, proxy.serve_connection)
            try:
                yield proxy
            finally:
                task_group.cancel_scope.cancel()
