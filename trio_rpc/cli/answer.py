"""`trio-rpc answer`: answer calls of a method by running a command.

The outcome of the command is the outcome of the call:

    it ends with 0 ──────────────► its stdout, without the final newline
    it ends with another status ─► an error of code 3000 and the status
    its stdout is not UTF-8 ─────► an error of code 3000
    the call times out ──────────► it is terminated, with all processes that it has started
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from ..errors import RpcError
from ..protocol.limits import utf8_length
from ..rpc.invocation_data import RpcInvocationData
from ..typed.room import Room
from .exits import UsageError
from .joining import Destination, add_room_options, destination_of, joined_until_signal
from .options import add_command
from .output import note

if TYPE_CHECKING:
    from .options import Commands

#: Added to the exit status of the command, this is the code of an error.
_FIRST_CODE: Final = 3000
#: Added to the number of the signal that ended a command, as in a shell, this is its status.
_SIGNAL_STATUS: Final = 128
#: Seconds for a command to end when it is told to, before it is killed.
_GRACE: Final = 2.0

_DESCRIPTION = """\
Answer to a method with a command: for each call it is run, without a shell,
with the payload on stdin, and what it prints on stdout is the answer, without
the newline that ends it. stderr here says who called and how long it took.
Ctrl-C ends it, with 0.

When the command ends with another status than 0, the caller gets an error: its
code is 3000 and the status (128 and the number of the signal that ended it),
its message the last line of the command's stderr, its data the status. Code
3000 says that the output is no UTF-8. When the caller's time is over, the
command is terminated, with all processes that it has started.
"""
_EXAMPLES = """\
  trio-rpc answer upper --dev --room demo --identity alice -- tr a-z A-Z
      for: trio-rpc call alice upper hello --dev --room demo
  trio-rpc answer disk -- df -h /
      with the token of LIVEKIT_TOKEN
  trio-rpc answer greet --dev --room demo -- sh -c 'echo "Hello, $LIVEKIT_RPC_CALLER!"'
      a shell, where one is needed

environment of the command:
  LIVEKIT_RPC_CALLER      who calls
  LIVEKIT_RPC_METHOD      the method
  LIVEKIT_RPC_REQUEST_ID  the id of the call
  LIVEKIT_RPC_TIMEOUT     the seconds that it has
"""


def add_parser(commands: Commands) -> None:
    """Add the command to those of `trio-rpc`."""
    parser = add_command(
        commands,
        "answer",
        summary="answer to a method with a command",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    parser.set_defaults(run=_run)
    parser.add_argument("method", metavar="METHOD", help="the name of the method")
    parser.add_argument(
        "command", nargs="*", metavar="-- COMMAND", help="the command and its arguments"
    )
    add_room_options(parser)


def _run(arguments: argparse.Namespace) -> None:
    command: list[str] = arguments.command
    if not command:
        raise UsageError("no command: give it at the end, after --")
    if shutil.which(command[0]) is None:
        raise UsageError(f"there is no command {command[0]!r}")
    room = Room()
    try:
        room.register_rpc_method(arguments.method, partial(_answer, arguments.method, command))
    except ValueError as error:
        raise UsageError(str(error)) from None
    trio.run(_answer_calls, room, destination_of(arguments), arguments.method)


async def _answer_calls(room: Room, destination: Destination, method: str) -> None:
    async with joined_until_signal(room, destination, f"answers to {method!r}"):
        await trio.sleep_forever()


async def _answer(method: str, command: Sequence[str], data: RpcInvocationData) -> str:
    started = trio.current_time()
    outcome = "ended: the call's time is over, or its caller has gone"
    try:
        answer = await _run_command(method, command, data)
        outcome = f"answered {utf8_length(answer):,} bytes"
        return answer
    except RpcError as error:
        outcome = f"error {error.code} {error.message}"
        raise
    except OSError as error:
        outcome = f"not run: {error}"
        raise
    finally:
        milliseconds = 1000 * (trio.current_time() - started)
        size = utf8_length(data.payload)
        note(f"{data.caller_identity}: {method}, {size:,} bytes: {outcome}, {milliseconds:.0f} ms")


async def _run_command(method: str, command: Sequence[str], data: RpcInvocationData) -> str:
    completed = await trio.run_process(
        command,
        stdin=data.payload.encode(),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        deliver_cancel=_end_group,
        # A process group of its own: Ctrl-C does not reach it, and its children end with it.
        start_new_session=True,
        env={
            **os.environ,
            "LIVEKIT_RPC_CALLER": data.caller_identity,
            "LIVEKIT_RPC_METHOD": method,
            "LIVEKIT_RPC_REQUEST_ID": data.request_id,
            "LIVEKIT_RPC_TIMEOUT": f"{data.response_timeout:g}",
        },
    )
    if completed.returncode != 0:
        raise _error_of(completed)
    try:
        return completed.stdout.removesuffix(b"\n").decode()
    except UnicodeDecodeError:
        raise RpcError(_FIRST_CODE, "The output of the command is not UTF-8", "0") from None


def _error_of(completed: subprocess.CompletedProcess[bytes]) -> RpcError:
    status = completed.returncode
    if status < 0:
        status = _SIGNAL_STATUS - status
    lines = completed.stderr.decode("utf-8", "replace").strip().splitlines()
    return RpcError(
        _FIRST_CODE + status, lines[-1] if lines else f"Exit status {status}", str(status)
    )


async def _end_group(process: trio.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        await trio.sleep(_GRACE)
        os.killpg(process.pid, signal.SIGKILL)
