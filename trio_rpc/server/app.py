"""The ASGI app of a room server.

LiveKit's signalling is on `/rtc`, its RoomService and AgentDispatchService below `/twirp`, the
workers of its agents on `/agent`, and a health check on `/`.

The app runs on trio and on asyncio alike, on its own (`serve`) or mounted in a Starlette or FastAPI
app. It has no lifespan of its own; docs/howto/mount-in-fastapi.md shows how an app that mounts it
disconnects the participants at its end.
"""

from __future__ import annotations

from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from .room_server import RoomServer
from .signalling import signalling_routes
from .twirp.services import twirp_services
from .webrtc import PeerThread

#: Pages of any origin are served, as by LiveKit's server: the token protects the rooms.
_ANY_ORIGIN: Final = Middleware(
    CORSMiddleware,
    allow_origins=["*"],
    allow_methods=["GET", "HEAD", "OPTIONS", "POST"],
    allow_headers=["*"],
    expose_headers=["*"],
    max_age=86_400,
)


def create_app(
    server: RoomServer, peers: PeerThread | None = None, *, allow_compression: bool = False
) -> Starlette:
    """Create the ASGI app of a room server.

    Clients connect to `ws://host/path`, where `path` is the path that the app is mounted at.

    Args:
        server: The room server.
        peers: The thread for the peer connections of LiveKit's SDKs, see `open_peer_thread`;
            without it, only participants of this library can join. `serve` opens one if aiortc is
            installed.
        allow_compression: Whether clients may offer to compress WebSocket messages, as browsers do,
            under an ASGI server that might agree to it. Set this for a server that does not agree,
            or that limits the inflated size of a message. `serve` never agrees, and does not need
            it.
    """

    async def health(_request: Request) -> PlainTextResponse:
        if server.shutting_down:
            return PlainTextResponse("shutting down", status_code=503)
        return PlainTextResponse("OK")

    return Starlette(
        routes=[
            Route("/", health),
            Route("/twirp/{path:path}", twirp_services(server)),
            *signalling_routes(server, peers, allow_compression=allow_compression),
        ],
        middleware=[_ANY_ORIGIN],
    )
