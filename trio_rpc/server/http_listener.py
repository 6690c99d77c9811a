"""A listener for HTTP and WebSockets: a room server on a socket of its own."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Final

from ..concurrency import IGNORED_TASK_STATUS, Event, TaskStatus
from ..net.listening import listen_tcp, load_certificate, run_server
from .app import create_app
from .http.connection import HttpLimits
from .http.server import serve_http
from .room_server import RoomServer
from .webrtc import PeerThread, check_own_address, open_peer_thread

#: LiveKit's port for HTTP and WebSockets.
DEFAULT_PORT: Final = 7880


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
        server: The room server.
        host: The address to listen on, or a name of one.
        port: The port; 0 for any free port.
        certfile: A certificate chain in PEM, for `wss://`; with its `keyfile`.
        keyfile: The certificate's private key in PEM.
        node_ip: The IP address of this machine that LiveKit's SDKs reach by UDP, for WebRTC. By
            default it is the address of `host`, or all addresses of the machine if `host` is a
            wildcard.
        task_status: Gets the URL that clients connect to, once they can.

    Raises:
        ValueError: `node_ip` is not an IP address of this machine.
        OSError: the address can't be listened on, or a file not be read (`ssl.SSLError`: or not be
            used).
    """
    ssl_context = None if certfile is None else _ssl_context(certfile, keyfile)
    if node_ip is not None:
        check_own_address(node_ip)
    limits = HttpLimits(
        max_message_bytes=server.limits.max_message_bytes,
        max_handshakes=server.limits.max_handshakes,
        max_handshakes_per_address=server.limits.max_handshakes_per_address,
        request_timeout=server.limits.handshake_timeout,
    )
    listener = listen_tcp(host, port)
    scheme = "ws" if certfile is None else "wss"
    bound_host, bound_port = listener.getsockname()[:2]
    url = f"{scheme}://{f'[{bound_host}]' if ':' in bound_host else bound_host}:{bound_port}"

    async def serve_until(stop: Event) -> None:
        async with _open_peers(bound_host, node_ip) as peers:
            await serve_http(create_app(server, peers), listener, stop, limits, ssl_context)

    await run_server(serve_until, server.shut_down, url, task_status)


@asynccontextmanager
async def _open_peers(host: str, node_ip: str | None) -> AsyncGenerator[PeerThread | None]:
    """Open the thread of WebRTC, if aiortc is installed; yield None if not."""
    if find_spec("aiortc") is None:
        yield None
        return
    listens_to_all = ip_address(host).is_unspecified
    addresses = [node_ip] if node_ip else [] if listens_to_all else [host]
    async with open_peer_thread(addresses) as peers:
        yield peers


def _ssl_context(
    certfile: str | os.PathLike[str], keyfile: str | os.PathLike[str] | None
) -> ssl.SSLContext:
    context = load_certificate(certfile, keyfile)
    context.set_alpn_protocols(["http/1.1"])
    return context
