"""LiveKit's AgentDispatchService: sending agents to rooms."""

from __future__ import annotations

from typing import Final

from livekit.protocol import agent_dispatch

from ..room_server import RoomServer
from .methods import Methods


async def _create_dispatch(
    server: RoomServer, request: agent_dispatch.CreateAgentDispatchRequest
) -> agent_dispatch.AgentDispatch:
    return server.dispatch_agent(request)


async def _delete_dispatch(
    server: RoomServer, request: agent_dispatch.DeleteAgentDispatchRequest
) -> agent_dispatch.AgentDispatch:
    return server.agents.delete(request.room, request.dispatch_id)


async def _list_dispatch(
    server: RoomServer, request: agent_dispatch.ListAgentDispatchRequest
) -> agent_dispatch.ListAgentDispatchResponse:
    dispatches = server.agents.list_dispatches(request.room, request.dispatch_id)
    return agent_dispatch.ListAgentDispatchResponse(agent_dispatches=dispatches)


#: The grant that each method needs, and the function that answers it.
METHODS: Final[Methods] = {
    "CreateDispatch": ("room_admin", _create_dispatch),
    "DeleteDispatch": ("room_admin", _delete_dispatch),
    "ListDispatch": ("room_admin", _list_dispatch),
}
