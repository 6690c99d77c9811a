"""`trio-rpc methods`: print the methods of a participant."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

import trio
from attrs import frozen

from ..typed.discovery import MethodInfo
from ..typed.room import Room
from .joining import (
    Destination,
    add_room_options,
    add_timeout_option,
    add_wait_option,
    destination_of,
    report_connection,
    wait_for,
)
from .options import add_command
from .output import write_line
from .signals import run_until_signal

if TYPE_CHECKING:
    from .options import Commands

_DESCRIPTION = """\
Print the methods of a participant, one a line, with their arguments and the
first line of their descriptions. The participant has to use this library.
"""
_EXAMPLES = """\
  trio-rpc methods alice --dev --room demo
      with the server of 'trio-rpc serve --dev'
  trio-rpc methods alice --json --dev --room demo
      a line of JSON for each, with the schemas, as a tool of MCP's
"""


def add_parser(commands: Commands) -> None:
    """Add the command to those of `trio-rpc`."""
    parser = add_command(
        commands,
        "methods",
        summary="print the methods of a participant",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    parser.set_defaults(run=_run)
    add = parser.add_argument
    add("callee", metavar="IDENTITY", help="whose methods")
    add("--json", action="store_true", help="print a line of JSON for each")
    add_timeout_option(parser)
    add_wait_option(parser)
    add_room_options(parser)


def _run(arguments: argparse.Namespace) -> None:
    command = _Methods(destination_of(arguments), arguments)
    trio.run(run_until_signal, command.run)


@frozen
class _Methods:
    destination: Destination
    arguments: argparse.Namespace

    async def run(self) -> None:
        """Join, ask, and leave.

        Raises:
            RpcError: the participant did not answer.
            CommandError: it is not in the room.
        """
        room = Room()
        report_connection(room)
        async with room.connect(self.destination.url, self.destination.token):
            callee = self.arguments.callee
            await wait_for(room, [callee], self.arguments.wait)
            for info in await room.discover(callee, timeout=self.arguments.timeout):
                write_line(_as_json(info) if self.arguments.json else _in_one_line(info))


def _as_json(info: MethodInfo) -> str:
    members: dict[str, Any] = {"name": info.name, "description": info.description}
    if info.input_schema is not None:
        members["inputSchema"] = info.input_schema
    if info.output_schema is not None:
        members["outputSchema"] = info.output_schema
    return json.dumps({**members, "streams": info.streams}, ensure_ascii=False)


def _in_one_line(info: MethodInfo) -> str:
    line = info.name
    if info.input_schema is not None:
        required = info.input_schema.get("required", ())
        names = info.input_schema.get("properties", {})
        line += f"({', '.join(name if name in required else f'{name}?' for name in names)})"
    if description := info.description.strip():
        line += f": {description.splitlines()[0]}"
    return line
