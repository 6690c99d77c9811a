"""Servers on sockets, for as long as a block runs, and their certificates."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import trustme
from attrs import frozen

from trio_rpc.server import RoomServer, serve, serve_stream

App = Callable[..., Awaitable[None]]


@frozen
class Certificate:
    """A certificate for 127.0.0.1 that is made for a test.

    Attributes:
        files: `certfile` and `keyfile`, for a server.
        trusted: What a client needs to trust it.
    """

    files: dict[str, Path]
    trusted: ssl.SSLContext

    @classmethod
    def make(cls, directory: Path) -> Certificate:
        authority = trustme.CA()
        pem = directory / "server.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))
        trusted = ssl.create_default_context()
        authority.configure_trust(trusted)
        return cls({"certfile": pem, "keyfile": pem}, trusted)


@asynccontextmanager
async def serving(server: RoomServer, host: str = "127.0.0.1", **tls: Any) -> AsyncIterator[str]:
    """Serve while the block runs."""
    async with anyio.create_task_group() as task_group:
        yield await task_group.start(partial(serve, server, host, 0, **tls))
        task_group.cancel_scope.cancel()


@asynccontextmanager
async def serving_stream(
    server: RoomServer, url: str = "tcp://127.0.0.1:0", **files: Path
) -> AsyncIterator[str]:
    """Serve stream links while the block runs; yields their URL."""

    async def run(*, task_status: anyio.abc.TaskStatus[str]) -> None:
        await serve_stream(server, url, **files, task_status=task_status)

    async with anyio.create_task_group() as task_group:
        yield await task_group.start(run)
        task_group.cancel_scope.cancel()


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def unaware_of_ours(app: App) -> App:
    """Return an app that agrees to no subprotocol, as LiveKit's server."""

    async def unaware(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await app({**scope, "subprotocols": []}, receive, send)

    return unaware
