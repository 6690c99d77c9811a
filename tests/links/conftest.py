"""Both ends of a connection of each kind, for one suite over all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
import pytest
from attrs import frozen
from livekit.protocol import models
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from trio_rpc.links import Link, open_framed_link
from trio_rpc.links.memory import open_memory_streams
from trio_rpc.links.websocket import SUBPROTOCOL, WebSocketConnector
from trio_rpc.server.app import _StarletteStream

from .web import serve_app

CLIENT: Final = models.ClientInfo(version="1")


@frozen
class Ends:
    """The two ends of a connection.

    Attributes:
        tells_why: Whether the far end hears the reason that the near end closes with.
    """

    near: Link
    far: Link
    tells_why: bool = True


@asynccontextmanager
async def memory_ends() -> AsyncIterator[tuple[Link, Link]]:
    near, far = open_memory_streams()
    async with open_framed_link(near) as near_link, open_framed_link(far) as far_link:
        yield near_link, far_link


@asynccontextmanager
async def websocket_ends() -> AsyncIterator[tuple[Link, Link]]:
    accepted: list[Link] = []
    is_accepted, is_over = anyio.Event(), anyio.Event()

    async def rtc(websocket: WebSocket) -> None:
        await websocket.accept(SUBPROTOCOL)
        async with open_framed_link(_StarletteStream(websocket)) as link:
            accepted.append(link)
            is_accepted.set()
            await is_over.wait()

    app = Starlette(routes=[WebSocketRoute("/rtc", rtc)])
    async with serve_app(app) as url:
        try:
            async with WebSocketConnector(url).open_link("token", CLIENT) as client:
                await is_accepted.wait()
                yield client, accepted[0]
        finally:
            is_over.set()


@pytest.fixture(params=["memory", "client to server", "server to client"])
async def ends(request: pytest.FixtureRequest, anyio_backend: object) -> AsyncIterator[Ends]:
    """Both ends of a connection of each kind; for tests marked `real_time`."""
    if request.param == "memory":
        async with memory_ends() as (near, far):
            yield Ends(near, far)
    else:
        async with websocket_ends() as (client, server):
            if request.param == "client to server":
                # ASGI's disconnect message has a code, and hypercorn puts no reason into it.
                yield Ends(client, server, tells_why=False)
            else:
                yield Ends(server, client)
