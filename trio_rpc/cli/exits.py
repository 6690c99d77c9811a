"""The end of a command: exit codes, and the one place where an error becomes a line."""

from __future__ import annotations

import logging
import os
import signal
import sys
from enum import IntEnum
from typing import cast

from ..errors import ConnectError, DisconnectedError, PublishDataError, RpcError, StreamError
from .output import one_line

logger = logging.getLogger(__name__)


class ExitCode(IntEnum):
    """The exit codes of the commands."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    CONNECTION = 3
    RPC = 4
    INTERRUPTED = 128 + signal.SIGINT


class CommandError(Exception):
    """The failure of a command; the text says why, in one line.

    Attributes:
        exit_code: The exit code of the command.
    """

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class UsageError(CommandError):
    """The arguments of a command, or the files that they name, are invalid."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.USAGE)


class InterruptedBySignalError(Exception):
    """A signal asked the command to end before it was done."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


def end_with(error: BaseException, prog: str) -> int:
    """Describe an error on stderr, and return the exit code.

    Args:
        error: The exception of a command.
        prog: The name of the command, for the message.
    """
    error = _cause_in(error)
    logger.debug("%s failed", prog, exc_info=error)
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if isinstance(error, InterruptedBySignalError):
        return 128 + error.signal_number
    if isinstance(error, BrokenPipeError):
        # The reader of our output is gone. Python would complain once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.UNEXPECTED
    code, text = _explain(error)
    print(f"{prog}: error: {one_line(' '.join(text.split()))}", file=sys.stderr)
    return code


def _explain(error: BaseException) -> tuple[ExitCode, str]:
    if isinstance(error, CommandError):
        return error.exit_code, str(error)
    if isinstance(error, ConnectError):
        return ExitCode.CONNECTION, str(error)
    if isinstance(error, DisconnectedError):
        return ExitCode.CONNECTION, f"the room was lost: {error}"
    if isinstance(error, RpcError | PublishDataError | StreamError):
        return ExitCode.RPC, str(error)
    return ExitCode.UNEXPECTED, (
        f"unexpected {type(error).__name__}: {error} (--verbose shows where it comes from)"
    )


def _cause_in(error: BaseException) -> BaseException:
    """Return the decisive error of a group: an interruption, or else the first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    leaves = [_cause_in(each) for each in group.exceptions]
    interruptions = [each for each in leaves if isinstance(each, KeyboardInterrupt)]
    return (interruptions or leaves)[0]
