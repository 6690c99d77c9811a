"""Both ends of a connection of each kind, for one suite over all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import pytest
from attrs import frozen
from livekit.protocol import models, rtc
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from trio_rpc import concurrency
from trio_rpc.links import Link, open_framed_link
from trio_rpc.links.memory import open_memory_streams
from trio_rpc.links.record_stream import RecordStream
from trio_rpc.links.records import PREAMBLE, RecordKind, encode_record
from trio_rpc.links.server_connector import ServerConnector
from trio_rpc.links.stream import SCHEMES, StreamAddress, StreamConnector
from trio_rpc.links.websocket import SUBPROTOCOL
from trio_rpc.net.byte_streams import open_byte_stream
from trio_rpc.net.tls import TlsByteStream
from trio_rpc.server import stream_listener
from trio_rpc.server.signalling import _StarletteStream

from ..support.serving import Certificate
from .web import serve_app

REQUEST: Final = rtc.JoinRequest(client_info=models.ClientInfo(version="1"))


@frozen
class Ends:
    """The two ends of a connection."""

    near: Link
    far: Link


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

    app = Starlette(routes=[WebSocketRoute("/rtc/v1", rtc)])
    async with (
        serve_app(app) as url,
        ServerConnector(url).open_link("token", REQUEST) as client,
    ):
        await is_accepted.wait()
        try:
            yield client, accepted[0]
        finally:
            is_over.set()


@asynccontextmanager
async def stream_ends(scheme: str, directory: Path) -> AsyncIterator[tuple[Link, Link]]:
    certificate = Certificate.make(directory)
    address = StreamAddress(scheme, "127.0.0.1", 0, str(directory / "socket"))
    listener, bound = stream_listener._listen(address)
    accepted: list[Link] = []
    is_accepted, is_over = anyio.Event(), anyio.Event()

    async def accept() -> None:
        await anyio.wait_readable(listener)
        stream = await open_byte_stream(listener.accept()[0], nursery)
        if scheme == "tls":
            stream = TlsByteStream(stream, stream_listener._ssl_context(**certificate.files))
            await stream.shake_hands()
        records = RecordStream(stream, 2**24)
        await records.receive_record()
        await records.send(PREAMBLE + encode_record(RecordKind.ANSWER, b"200 "))
        async with open_framed_link(records) as link:
            accepted.append(link)
            is_accepted.set()
            await is_over.wait()
        stream.abort()

    with listener:
        async with concurrency.current().open_nursery() as nursery:
            nursery.start_soon(accept)
            connector = StreamConnector(str(bound), certificate.trusted)
            async with connector.open_link("token", REQUEST) as client:
                await is_accepted.wait()
                try:
                    yield client, accepted[0]
                finally:
                    # The far end closes as well, for which the near end waits.
                    is_over.set()


@pytest.fixture(
    params=[
        *("memory", "client to server", "server to client"),
        *("tcp client to server", "tls server to client", "unix server to client"),
    ]
)
async def ends(
    request: pytest.FixtureRequest, anyio_backend: object, tmp_path: Path
) -> AsyncIterator[Ends]:
    """Both ends of a connection of each kind; for tests marked `real_time`."""
    scheme, _, direction = request.param.partition(" ")
    if request.param == "memory":
        async with memory_ends() as (near, far):
            yield Ends(near, far)
    elif scheme in SCHEMES:
        async with stream_ends(scheme, tmp_path) as (client, server):
            near_is_client = direction == "client to server"
            yield Ends(client, server) if near_is_client else Ends(server, client)
    else:
        async with websocket_ends() as (client, server):
            if request.param == "client to server":
                yield Ends(client, server)
            else:
                yield Ends(server, client)
