"""hypercorn's connections under nurseries of our own.

hypercorn's workers let an error in one connection end the whole server (on trio) or reach the event
loop (on asyncio), and on trio they wait for a peer that does not read for as long as the kernel
does. So the listening is done here, and hypercorn serves each connection.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from functools import partial
from typing import Any, Final

import anyio
import hypercorn.asyncio.tcp_server
import hypercorn.asyncio.worker_context
import hypercorn.trio.tcp_server
import hypercorn.trio.worker_context
import trio
from hypercorn.config import Config
from hypercorn.utils import wrap_app  # pyright: ignore[reportUnknownVariableType]

from .. import concurrency
from ..concurrency import Event, failure_in

logger = logging.getLogger(__name__)

#: Seconds after which accepting is tried again when it failed, for want of file descriptors say.
_ACCEPT_AGAIN: Final = 0.1


async def serve_on_trio(app: Any, config: Config, listener: socket.socket, stop: Event) -> None:
    """Serve an ASGI app until `stop`, and for the graceful timeout of `config` after it."""
    context = hypercorn.trio.worker_context.WorkerContext(None)
    wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")
    streams: set[Any] = set()

    async def serve_connection(stream: Any) -> None:
        streams.add(stream)
        try:
            await hypercorn.trio.tcp_server.TCPServer(wrapped, config, context, {}, stream)
        except BaseException as error:
            failure = failure_in(error)
            if failure is None:
                raise
            logger.info("a connection failed", exc_info=failure)
        finally:
            streams.discard(stream)
            await trio.aclose_forcefully(stream)

    async def abort_late_connections() -> None:
        await trio.sleep(config.graceful_timeout)
        connections.cancel_scope.cancel()
        for stream in tuple(streams):
            # What is being sent is shielded, and ends only with its socket.
            await trio.aclose_forcefully(stream)

    sockets: Any = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    if ssl_context := config.create_ssl_context():
        sockets = trio.SSLListener(sockets, ssl_context, https_compatible=True)
    async with (
        concurrency.open_service_nursery() as service,
        trio.open_nursery() as connections,
    ):
        serve = partial(trio.serve_listeners, handler_nursery=connections)
        async with concurrency.open_service_nursery() as accepting:
            accepting.start_soon(serve, serve_connection, [sockets])
            await stop.wait()
        await sockets.aclose()
        await context.terminated.set()
        service.start_soon(abort_late_connections)


async def serve_on_asyncio(app: Any, config: Config, listener: socket.socket, stop: Event) -> None:
    """The same on asyncio."""
    loop = asyncio.get_running_loop()
    context = hypercorn.asyncio.worker_context.WorkerContext(None)
    wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")
    ssl_context = config.create_ssl_context()

    async def serve_connection(connection: socket.socket) -> None:
        try:
            reader, writer = await _open_streams(connection, ssl_context, config)
            try:
                await hypercorn.asyncio.tcp_server.TCPServer(
                    wrapped, loop, config, context, {}, reader, writer
                )
            finally:
                writer.transport.abort()
        except BaseException as error:
            failure = failure_in(error)
            if failure is None:
                raise
            logger.info("a connection failed", exc_info=failure)

    def accept() -> None:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError:
            logger.exception("no connection can be accepted for now")
            loop.remove_reader(listener)
            loop.call_later(_ACCEPT_AGAIN, listen)
            return
        connection.setblocking(False)
        connections.start_soon(serve_connection, connection)

    def listen() -> None:
        if not stop.is_set():
            loop.add_reader(listener, accept)

    listener.setblocking(False)
    async with anyio.create_task_group() as connections:
        # asyncio's own server loses a connection that comes while it is being closed.
        listen()
        try:
            await stop.wait()
        finally:
            loop.remove_reader(listener)
            listener.close()
        await context.terminated.set()
        connections.cancel_scope.deadline = anyio.current_time() + config.graceful_timeout


async def _open_streams(
    connection: socket.socket, ssl_context: ssl.SSLContext | None, config: Config
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    try:
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            connection,
            ssl=ssl_context,
            ssl_handshake_timeout=config.ssl_handshake_timeout if ssl_context else None,
        )
    except BaseException:
        connection.close()
        raise
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
