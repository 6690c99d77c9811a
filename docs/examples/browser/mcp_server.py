"""An MCP server, over standard input and output, whose tools are the methods of a page."""

import os

import trio
from mcp.server.mcpserver import MCPServer

from trio_rpc import AccessToken, Room, VideoGrants
from trio_rpc.typed.forwarding import forward_tool


async def main() -> None:
    grants = VideoGrants(room_join=True, room="demo")
    token = AccessToken().with_identity("tools").with_grants(grants).to_jwt()
    async with Room().connect(os.environ["LIVEKIT_URL"], token) as room:
        await room.wait_for_method("page", "confirm")
        server = MCPServer("page")
        for method in "confirm", "pick_colour":
            server.add_tool(await forward_tool(room, "page", method, timeout=60))
        await server.run_stdio_async()


trio.run(main)
