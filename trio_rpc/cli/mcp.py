"""`trio-rpc mcp`: a participant's methods as the tools of an MCP server, over stdio."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import trio
from attrs import frozen

from ..typed.room import Room
from .exits import UsageError
from .joining import (
    Destination,
    add_room_options,
    add_timeout_option,
    destination_of,
    report_connection,
)
from .options import add_command
from .signals import run_until_signal

if TYPE_CHECKING:
    from .options import Commands

_DESCRIPTION = """\
Serve the methods of a participant as tools of MCP, over stdin and stdout: for
the configuration of a desktop client. It needs the extra 'mcp'.
"""
_EXAMPLES = """\
  trio-rpc mcp alice --allow 'kitchen.*' --dev --room demo
      the methods of alice's whose names begin so
"""


def add_parser(commands: Commands) -> None:
    """Add the command to those of `trio-rpc`."""
    parser = add_command(
        commands,
        "mcp",
        summary="serve the methods of a participant as tools of MCP",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    parser.set_defaults(run=_run)
    add = parser.add_argument
    add("callee", metavar="IDENTITY", help="whose methods")
    add(
        "--allow",
        action="append",
        required=True,
        metavar="PATTERN",
        help="the names of the methods that are tools, such as 'kitchen.*'; may be repeated",
    )
    add_timeout_option(parser)
    add_room_options(parser)


def _run(arguments: argparse.Namespace) -> None:
    try:
        from ..typed import mcp as _  # noqa: F401
    except ImportError:
        raise UsageError("this needs the MCP SDK: pip install 'trio-rpc[mcp]'") from None
    trio.run(run_until_signal, _Serving(destination_of(arguments), arguments).run)


@frozen
class _Serving:
    destination: Destination
    arguments: argparse.Namespace

    async def run(self) -> None:
        """Join, and serve until stdin ends."""
        from mcp.server.stdio import stdio_server

        from ..typed.mcp import server_of

        room = Room()
        report_connection(room)
        async with room.connect(self.destination.url, self.destination.token):
            server = server_of(
                room,
                self.arguments.callee,
                allow=self.arguments.allow,
                timeout=self.arguments.timeout,
            )
            async with stdio_server() as (read_stream, write_stream):
                await server.run(read_stream, write_stream, server.create_initialization_options())
