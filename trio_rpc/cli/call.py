"""`trio-rpc call`: call a method of a participant, once or repeatedly."""

from __future__ import annotations

import argparse
import math
import sys
from functools import partial
from typing import TYPE_CHECKING

import trio
from attrs import Factory, define

from ..errors import RpcError
from ..rpc.call_arguments import check_call
from ..typed.room import Room
from .arguments import parse_arguments
from .exits import CommandError, ExitCode, UsageError
from .joining import (
    Destination,
    add_room_options,
    add_timeout_option,
    add_wait_option,
    destination_of,
    report_connection,
    text_in,
    wait_for,
)
from .options import add_command, positive_int
from .output import ProgressBar, note, write_line
from .signals import run_until_signal

if TYPE_CHECKING:
    from .options import Commands

_DESCRIPTION = """\
Call a method of a participant in a room, and print its answer on stdout. An
error goes to stderr as one line, and the command ends with 4.
"""
_EXAMPLES = """\
  trio-rpc call alice greet hello --dev --room demo
      with the server of 'trio-rpc serve --dev'
  trio-rpc call alice upper - --dev --room demo --wait 10 < text.txt
      the payload from stdin, and 10 seconds for alice to join
  trio-rpc call alice slice --arg times=2 --arg 'order={"vegetable": "leek"}' --dev --room demo
      the arguments of a method with types, checked before the call
  trio-rpc call alice ping --repeat 1000 > answers.txt
      how long a call takes; the token is that of LIVEKIT_TOKEN
"""


def add_parser(commands: Commands) -> None:
    """Add the command to those of `trio-rpc`."""
    parser = add_command(
        commands,
        "call",
        summary="call a method of a participant",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    parser.set_defaults(run=_run)
    add = parser.add_argument
    add("callee", metavar="IDENTITY", help="whom to call")
    add("method", metavar="METHOD", help="the name of the method")
    add(
        "payload",
        nargs="?",
        default="",
        metavar="PAYLOAD",
        help="the argument; - is stdin, without the newline that ends it (default: empty)",
    )
    add(
        "--arg",
        action="append",
        metavar="NAME=VALUE",
        help="in place of PAYLOAD, an argument of a method with types: JSON, or a string where the "
        "method takes one; may be repeated",
    )
    add_timeout_option(parser)
    add(
        "--repeat",
        type=positive_int,
        metavar="N",
        help="call N times, one after another, and say on stderr how long that took",
    )
    add_wait_option(parser)
    add_room_options(parser)


def _run(arguments: argparse.Namespace) -> None:
    destination = destination_of(arguments)
    if arguments.arg and arguments.payload:
        raise UsageError("there are PAYLOAD and --arg: only one of them makes the arguments")
    if arguments.arg:
        parse_arguments(arguments.arg, None)
    payload = text_in(arguments.payload, "PAYLOAD")
    try:
        check_call(arguments.method, payload, arguments.timeout)
    except ValueError as error:
        raise UsageError(str(error)) from None
    command = _Calls(destination, arguments, payload)
    trio.run(run_until_signal, command.run)


@define
class _Calls:
    destination: Destination
    arguments: argparse.Namespace
    payload: str
    milliseconds: list[float] = Factory(list[float])
    failures: int = 0

    async def run(self) -> None:
        """Join, call, and leave.

        Raises:
            RpcError: the only call failed.
            CommandError: some of several calls failed, or the callee is not in the room.
        """
        room = Room()
        report_connection(room)
        async with room.connect(self.destination.url, self.destination.token):
            if self.arguments.wait is not None:
                await wait_for(room, [self.arguments.callee], self.arguments.wait)
            if self.arguments.arg:
                self.payload = await self._typed_payload(room)
            call = partial(
                room.local_participant.perform_rpc,
                destination_identity=self.arguments.callee,
                method=self.arguments.method,
                payload=self.payload,
                response_timeout=self.arguments.timeout,
            )
            if self.arguments.repeat is None:
                write_line(await call())
                return
            with ProgressBar("calls") as progress:
                for number in range(1, self.arguments.repeat + 1):
                    started = trio.current_time()
                    try:
                        answer = await call()
                    except RpcError as error:
                        self.failures += 1
                        progress.erase()
                        note(f"call {number}: {error}")
                    else:
                        self.milliseconds.append(1000 * (trio.current_time() - started))
                        if sys.stdout.isatty():
                            progress.erase()
                        write_line(_in_one_line(answer))
                    progress.update(number, self.arguments.repeat)
        self._conclude()

    async def _typed_payload(self, room: Room) -> str:
        """Return the JSON of the arguments, after a look at the schema of the method."""
        callee, name = self.arguments.callee, self.arguments.method
        try:
            methods = await room.discover(callee, timeout=self.arguments.timeout)
        except RpcError as error:
            if error.code != RpcError.ErrorCode.UNSUPPORTED_METHOD:
                raise
            # It tells nothing, and checks the arguments itself.
            return parse_arguments(self.arguments.arg, None)
        schema = next((each.input_schema for each in methods if each.name == name), None)
        return parse_arguments(self.arguments.arg, schema)

    def _conclude(self) -> None:
        calls = len(self.milliseconds) + self.failures
        took = ""
        if self.milliseconds:
            p50, p99 = (_percentile(self.milliseconds, share) for share in (0.50, 0.99))
            took = f", p50 {p50:.1f} ms, p99 {p99:.1f} ms"
        note(f"{calls} calls, {self.failures} failures{took}")
        if self.failures:
            raise CommandError(f"{self.failures} of {calls} calls failed", ExitCode.RPC)


def _in_one_line(answer: str) -> str:
    return answer.replace("\r", "\\r").replace("\n", "\\n")


def _percentile(values: list[float], share: float) -> float:
    """Return the smallest of `values` that is not below `share` of them."""
    return sorted(values)[math.ceil(share * len(values)) - 1]
