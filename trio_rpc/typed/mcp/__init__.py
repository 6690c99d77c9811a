"""MCP both ways: a participant's methods as tools, and tools as methods (rule T11).

This needs the extra `mcp`: `pip install 'trio-rpc[mcp]'`. The MCP SDK runs on anyio, so on trio and
on asyncio.
"""

from .changes import ToolChanges
from .mounting import TOOL_FAILED, mount
from .serving import server_of

__all__ = ["TOOL_FAILED", "ToolChanges", "mount", "server_of"]
