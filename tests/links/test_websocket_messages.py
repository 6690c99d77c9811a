"""Messages of a client's WebSocket, at a server that reads when a test says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import pytest
import wsproto.events
from wsproto import ConnectionType, WSConnection

from trio_rpc.links import LinkClosedError
from trio_rpc.links.websocket import SignallingServer, WebSocket

from ..support.raw_sockets import RawWebSocket
from ..support.tokens import make_token

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

#: More than the sockets of both sides hold.
LARGE = bytes(range(256)) * 128 * 1024


class Server(RawWebSocket):
    """The server's side of one WebSocket."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        super().__init__(stream)
        self._protocol = WSConnection(ConnectionType.SERVER)

    async def receive_message(self) -> bytes:
        """Receive the next message, whole."""
        message = bytearray()
        while True:
            event = await self.receive()
            assert isinstance(event, wsproto.events.BytesMessage)
            message += event.data
            if event.message_finished:
                return bytes(message)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[WebSocket, Server]]:
    """Yield the two sides of a WebSocket."""
    sides: list[Server] = []
    over = anyio.Event()

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            server = Server(stream)
            assert isinstance(await server.receive(), wsproto.events.Request)
            sides.append(server)
            await server.send(wsproto.events.AcceptConnection())
            await over.wait()

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as task_group,
    ):
        task_group.start_soon(listener.serve, serve)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        signalling = SignallingServer(f"ws://127.0.0.1:{port}")
        async with signalling.open("/rtc", {}, make_token("alice")) as client:
            yield client, sides[0]
            over.set()
        task_group.cancel_scope.cancel()


async def test_a_pong_waits_until_a_message_has_left() -> None:
    async with connected() as (client, server), anyio.create_task_group() as task_group:
        task_group.start_soon(client.send_message, LARGE)
        task_group.start_soon(client.receive_message)
        first = await server.receive()
        assert isinstance(first, wsproto.events.BytesMessage)
        assert not client.send_message_nowait(b"now")
        assert client.unsent_bytes > 0
        await server.send(wsproto.events.Ping(b"?"))
        assert first.data + await server.receive_message() == LARGE
        assert await server.receive() == wsproto.events.Pong(b"?")
        assert client.send_message_nowait(b"now")
        assert await server.receive_message() == b"now"
        task_group.cancel_scope.cancel()


async def test_nothing_can_be_sent_after_a_close() -> None:
    async with connected() as (client, server):
        await server.send(wsproto.events.CloseConnection(4000, "enough"))
        await server.receive_close()
        await server.stream.aclose()
        with pytest.raises(LinkClosedError, match="closed with 4000: enough"):
            await client.receive_message()
        with pytest.raises(LinkClosedError, match="closed with 4000: enough"):
            await client.send_message(b"late")


async def test_a_ping_after_our_close_frame_is_no_error() -> None:
    async with connected() as (client, server), anyio.create_task_group() as task_group:
        task_group.start_soon(client.aclose, "bye")
        event = await server.receive()
        assert isinstance(event, wsproto.events.CloseConnection)
        assert event.reason == "bye"
        await server.stream.send(b"\x89\x00")
        await server.send(event.response())
        await server.stream.aclose()
