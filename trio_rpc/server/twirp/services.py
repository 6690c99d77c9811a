"""The services of a room server, as an ASGI app."""

from __future__ import annotations

from livekit.protocol import agent_dispatch, room
from starlette.types import ASGIApp

from ..room_server import RoomServer
from . import agent_dispatch_service, room_service
from .methods import twirp_methods
from .protocol import TwirpServices


def twirp_services(server: RoomServer) -> ASGIApp:
    """Return the services for the rooms of `server`: an ASGI app for `/twirp/{path:path}`."""
    services = (
        (room.DESCRIPTOR.services_by_name["RoomService"], room_service.METHODS),
        (
            agent_dispatch.DESCRIPTOR.services_by_name["AgentDispatchService"],
            agent_dispatch_service.METHODS,
        ),
    )
    return TwirpServices(
        {
            service.full_name: twirp_methods(server, service, methods)
            for service, methods in services
        },
        server.admission.verify,
        max_request_bytes=server.limits.max_message_bytes,
        max_requests=server.limits.max_requests_in_flight,
    )
