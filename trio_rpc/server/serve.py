"""Run a room server on a socket of its own, on trio and on asyncio."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Final

from .. import concurrency
from ..concurrency import IGNORED_TASK_STATUS, TaskStatus
from .app import create_app
from .http import HttpLimits
from .http_server import serve_http
from .room_server import RoomServer
from .webrtc import PeerThread, check_own_address, open_peer_thread

#: LiveKit's port for HTTP and WebSockets.
DEFAULT_PORT: Final = 7880
_BACKLOG: Final = 512


async def serve(
    server: RoomServer,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    *,
    certfile: str | os.PathLike[str] | None = None,
    keyfile: str | os.PathLike[str] | None = None,
    node_ip: str | None = None,
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
        node_ip: The IP address of this machine that LiveKit's SDKs reach by UDP, for WebRTC;
            otherwise it is the one of `host`, or all that the machine has where `host` is a
            wildcard.
        task_status: Told the URL that clients connect to, once they can.

    Raises:
        ValueError: `node_ip` is no IP address of this machine.
        OSError: the address can't be listened on, or a file not be read (`ssl.SSLError`: or not be
            used).
    """
    backend = concurrency.current()
    ssl_context = None if certfile is None else _ssl_context(certfile, keyfile)
    if node_ip is not None:
        check_own_address(node_ip)
    limits = HttpLimits(max_message_bytes=server.limits.max_message_bytes)
    listener = _listen(host, port)
    scheme = "ws" if certfile is None else "wss"
    bound_host, bound_port = listener.getsockname()[:2]
    url = f"{scheme}://{f'[{bound_host}]' if ':' in bound_host else bound_host}:{bound_port}"
    stop = backend.event()

    async def run_http_server() -> None:
        # Shielded, so that there still is somebody to tell the participants through.
        with backend.cancel_scope(shield=True):
            async with _open_peers(bound_host, node_ip) as peers:
                app = create_app(server, peers)
                await serve_http(app, listener, stop, limits, ssl_context)

    async with backend.open_nursery() as nursery:
        nursery.start_soon(run_http_server)
        task_status.started(url)
        try:
            await backend.sleep_forever()
        finally:
            try:
                with backend.cancel_scope(shield=True):
                    await server.shut_down()
            finally:
                stop.set()


@asynccontextmanager
async def _open_peers(host: str, node_ip: str | None) -> AsyncGenerator[PeerThread | None]:
    """Where WebRTC runs, if aiortc is installed."""
    if find_spec("aiortc") is None:
        yield None
        return
    listens_to_all = ip_address(host).is_unspecified
    addresses = [node_ip] if node_ip else [] if listens_to_all else [host]
    async with open_peer_thread(addresses) as peers:
        yield peers


def _listen(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Connections inherit these from the socket that they came in on.
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _ssl_context(
    certfile: str | os.PathLike[str], keyfile: str | os.PathLike[str] | None
) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certfile, keyfile)
    context.set_alpn_protocols(["http/1.1"])
    return context
