"""The ASGI app of a room server.

LiveKit's signalling is on `/rtc`, its RoomService below `/twirp`, and a health check on `/`.

It runs on trio and on asyncio alike, on its own (`serve`) or mounted in a Starlette or FastAPI app.
It has no lifespan of its own; docs/howto/mount-in-fastapi.md has how an app that mounts it says
goodbye to the participants.
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
from .twirp.room_service import room_service
from .webrtc import PeerThread

#: Pages of any origin may ask, as with LiveKit's server: it is the token that protects the rooms.
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
    """The ASGI app of a room server.

    Clients connect to `ws://host/path`, where `path` is what the app is mounted at.

    Args:
        server: The rooms.
        peers: Where the peer connections of LiveKit's SDKs run, see `open_peer_thread`; without it
            only participants of ours are let in. `serve` has one where aiortc is installed.
        allow_compression: Whether to let in who offers to compress WebSocket messages, as browsers
            do, under an ASGI server that might agree to it: say so for one that does not, or that
            bounds what a message inflates to. `serve` never agrees, and needs no saying.
    """

    async def health(_request: Request) -> PlainTextResponse:
        if server.shutting_down:
            return PlainTextResponse("shutting down", status_code=503)
        return PlainTextResponse("OK")

    return Starlette(
        routes=[
            Route("/", health),
            Route("/twirp/{path:path}", room_service(server)),
            *signalling_routes(server.admission, peers, allow_compression=allow_compression),
        ],
        middleware=[_ANY_ORIGIN],
    )
