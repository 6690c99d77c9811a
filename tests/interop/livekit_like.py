"""Our server as it behaves in tests of programs for a livekit-server, on a socket.

    python -m tests.interop.livekit_like HOST

It ends with SIGTERM. Programs of this library join it over WebRTC, as LiveKit's SDKs do.
"""

from __future__ import annotations

import logging
import signal
import socket
import sys

import trio

from trio_rpc import concurrency
from trio_rpc.server import create_app, open_peer_thread
from trio_rpc.server.http.connection import HttpLimits
from trio_rpc.server.http.server import serve_http
from trio_rpc.testing import LiveKitLikeServer

from ..support.serving import unaware_of_ours
from ..support.tokens import API_KEY, API_SECRET


class _Server(LiveKitLikeServer):
    """The server, with the API key of the tests."""

    _api_key = API_KEY
    _api_secret = API_SECRET


async def main(host: str) -> None:
    listener = socket.create_server((host, 0))
    server = _Server()
    stop = concurrency.current().event()
    async with open_peer_thread([host]) as peers, trio.open_nursery() as nursery:
        app = unaware_of_ours(create_app(server, peers))
        nursery.start_soon(serve_http, app, listener, stop, HttpLimits())
        port = listener.getsockname()[1]
        sys.stdout.write(f"Serving on ws://{host}:{port}, as LiveKit's server\n")
        sys.stdout.flush()
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            await anext(signals)
        await server.shut_down()
        stop.set()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    trio.run(main, sys.argv[1])
