"""Listening sockets, and a task for each of their connections, all under one nursery.

A connection ends alone: neither the input of its peer nor an error while serving it reaches another
one.
"""

from __future__ import annotations

import math
import os
import socket
import ssl
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import anyio

from .. import concurrency
from ..concurrency import Event, Nursery, TaskStatus, failure_in
from ..protocol.logs import peer_logger
from .byte_streams import ByteStream, open_byte_stream

logger = peer_logger(__name__)

_BACKLOG: Final = 512
#: Seconds after which a failed accept is tried again, for example for lack of file descriptors;
#: doubled with each further failure.
_SHORTEST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
#: Seconds in which such a failure is logged once.
_SAID_AGAIN: Final = 10.0

#: Serves a connection to its end: the socket is for its addresses, the stream for everything else.
ServeConnection = Callable[[socket.socket, ByteStream], Awaitable[None]]


def listen_tcp(host: str, port: int) -> socket.socket:
    """Open a socket that listens at the first address of `host`.

    Raises:
        OSError: the address can't be listened on.
    """
    family, _, _, _, target = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    return _listen(family, target)


def listen_unix(path: str) -> socket.socket:
    """Open a listening socket in the file system, for its owner alone."""
    return _listen(socket.AF_UNIX, path)


def load_certificate(
    certfile: str | os.PathLike[str], keyfile: str | os.PathLike[str] | None
) -> ssl.SSLContext:
    """Return the TLS context of a server with this certificate.

    Args:
        certfile: A certificate chain in PEM.
        keyfile: Its private key in PEM, if that is in a file of its own.

    Raises:
        OSError: a file can't be read, or (`ssl.SSLError`) not be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certfile, keyfile)
    return context


def _listen(family: socket.AddressFamily, target: Any) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(target)
        if family == socket.AF_UNIX:
            # Nobody can connect before `listen`.
            Path(target).chmod(stat.S_IRUSR | stat.S_IWUSR)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


async def run_server(
    serve: Callable[[Event], Awaitable[None]],
    shut_down: Callable[[], Awaitable[None]],
    url: str,
    task_status: TaskStatus,
) -> None:
    """Run a server until cancelled, and end it in order.

    Args:
        serve: Serves until the event is set. It is shielded, so that participants can still be sent
            the reason.
        shut_down: Sends participants the reason, and waits until they are gone.
        url: The value for `task_status`: the server listens already.
    """
    backend = concurrency.current()
    stop = backend.event()

    async def run() -> None:
        with backend.cancel_scope(shield=True):
            await serve(stop)

    async with backend.open_nursery() as nursery:
        nursery.start_soon(run)
        task_status.started(url)
        try:
            await backend.sleep_forever()
        finally:
            try:
                with backend.cancel_scope(shield=True):
                    await shut_down()
            finally:
                stop.set()


async def serve_connections(
    listener: socket.socket,
    serve_connection: ServeConnection,
    stop: Event,
    *,
    on_stop: Callable[[], None],
    graceful_timeout: float,
) -> None:
    """Serve connections until `stop` is set, and open ones for a while longer.

    Args:
        listener: Closed once `stop` is set.
        serve_connection: Serves one connection; an error in it concerns that connection alone.
        stop: The event that ends the server.
        on_stop: Called when no further connection is accepted; asks the open ones to end.
        graceful_timeout: Seconds that the open ones get for that.
    """
    backend = concurrency.current()
    async with backend.open_nursery() as nursery:

        def start(connection: socket.socket) -> None:
            nursery.start_soon(_serve_alone, serve_connection, connection, nursery)

        try:
            async with concurrency.open_service_nursery() as accepting:
                accepting.start_soon(_accept, listener, start)
                await stop.wait()
        finally:
            listener.close()
        on_stop()
        nursery.cancel_scope.deadline = backend.current_time() + graceful_timeout


async def _accept(listener: socket.socket, start: Callable[[socket.socket], object]) -> None:
    backend = concurrency.current()
    pause, say_at = _SHORTEST_PAUSE, -math.inf
    while True:
        await anyio.wait_readable(listener)
        try:
            # Nothing is awaited from here on, so that no connection gets lost on cancellation.
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionError):
            continue  # it was gone before it was accepted
        except OSError as error:
            now = backend.current_time()
            if now >= say_at:
                logger.warning("no connection can be accepted for now: %s", error)
                say_at = now + _SAID_AGAIN
            await backend.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            continue
        pause = _SHORTEST_PAUSE
        start(connection)


async def _serve_alone(
    serve_connection: ServeConnection, connection: socket.socket, nursery: Nursery
) -> None:
    try:
        stream = await open_byte_stream(connection, nursery)
        try:
            await serve_connection(connection, stream)
        finally:
            stream.abort()
    except BaseException as error:
        failure = failure_in(error)
        if failure is None:
            raise
        if isinstance(failure, OSError):
            logger.debug("a connection was lost: %s", failure)
        else:
            logger.error("a connection failed", exc_info=failure)
