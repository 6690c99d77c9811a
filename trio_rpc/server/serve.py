"""Run a room server on a socket of its own, on trio and on asyncio."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from hypercorn.config import Config

from .. import concurrency
from ..concurrency import IGNORED_TASK_STATUS, TaskStatus
from .app import create_app
from .room_server import RoomServer
from .workers import serve_on_asyncio, serve_on_trio

#: LiveKit's port for HTTP and WebSockets.
DEFAULT_PORT: Final = 7880
#: Seconds that connections get to end when the server shuts down.
_GRACEFUL_TIMEOUT: Final = 5.0
#: After how long the kernel gives up a connection whose peer takes nothing: hypercorn waits for
#: such a peer, and can't be told to stop (V8).
_UNREAD_TIMEOUT_MS: Final = 20_000
_BACKLOG: Final = 512

_SERVE: Final[dict[str, Callable[..., Awaitable[None]]]] = {
    "trio": serve_on_trio,
    "asyncio": serve_on_asyncio,
}


async def serve(
    server: RoomServer,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    *,
    certfile: str | os.PathLike[str] | None = None,
    keyfile: str | os.PathLike[str] | None = None,
    task_status: TaskStatus = IGNORED_TASK_STATUS,
) -> None:
    """Serve until cancelled; then tell every participant why, and end.

        url = await nursery.start(serve, RoomServer(api_keys), "127.0.0.1", 0)

    Args:
        server: The rooms.
        host: The address to listen on, or a name of one.
        port: The port; 0 for a free one.
        certfile: A certificate chain in PEM, for `wss://`; with its `keyfile`.
        keyfile: The certificate's private key in PEM.
        task_status: Told the URL that clients connect to, once they can.

    Raises:
        OSError: the address can't be listened on, or a file not be read (`ssl.SSLError`: or not be
            used).
    """
    backend = concurrency.current()
    config = _config(server, certfile, keyfile)
    listener = _listen(host, port)
    scheme = "ws" if certfile is None else "wss"
    bound_host, bound_port = listener.getsockname()[:2]
    url = f"{scheme}://{f'[{bound_host}]' if ':' in bound_host else bound_host}:{bound_port}"
    stop = backend.event()

    async def run_hypercorn() -> None:
        # Shielded, so that there still is somebody to tell the participants through.
        with backend.cancel_scope(shield=True):
            await _SERVE[backend.name](create_app(server), config, listener, stop)

    async with backend.open_nursery() as nursery:
        nursery.start_soon(run_hypercorn)
        task_status.started(url)
        try:
            await backend.sleep_forever()
        finally:
            with backend.cancel_scope(shield=True):
                await server.shut_down()
            stop.set()


def _listen(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Connections inherit these from the socket that they came in on.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_TIMEOUT_MS)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _config(
    server: RoomServer,
    certfile: str | os.PathLike[str] | None,
    keyfile: str | os.PathLike[str] | None,
) -> Config:
    config = Config()
    config.certfile = None if certfile is None else os.fspath(certfile)
    config.keyfile = None if keyfile is None else os.fspath(keyfile)
    config.alpn_protocols = ["http/1.1"]
    config.include_server_header = False
    config.backlog = _BACKLOG
    config.graceful_timeout = _GRACEFUL_TIMEOUT
    config.websocket_max_message_size = server.limits.max_message_bytes
    config.accesslog = None
    # Before anybody is told that we serve.
    config.create_ssl_context()
    config.errorlog = logging.getLogger("trio_rpc.server.hypercorn")
    return config
