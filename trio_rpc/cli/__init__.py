"""The command line `trio-rpc`: its parser, and the entry point `main`.

Each command is a module with a function `add_parser`, named in `COMMANDS`. Its function `run` gets
the parsed arguments, and raises errors, which `exits` turns into an exit code and one line.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from .exits import ExitCode, end_with
from .logs import configure_logging
from .options import ENVIRONMENT, Formatter, run_help

__all__ = ["main"]

#: The commands, in the order of the help; a new one is added here.
COMMANDS = ("demo", "serve", "token", "call", "methods", "mcp", "answer", "send", "listen")

_EXIT_CODES = """\
exit codes:
  0    all is well
  1    something unexpected, or a token that is not valid
  2    wrong usage
  3    no connection: nobody answers, access is refused, it is lost, the address is in use
  4    a call failed, data was not sent, a participant is not there, or the demo went wrong
  130  interrupted by Ctrl-C
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments; by default, those of the process.

    Returns:
        The exit code.
    """
    words, command = _split(sys.argv[1:] if argv is None else argv)
    arguments = _build_parser(words[:1]).parse_args(words)
    if command:
        arguments.command = command
    configure_logging(verbose=arguments.verbose)
    with warnings.catch_warnings():
        # PyJWT warns of short secrets; the commands do so themselves (`options.hint_at_length`).
        warnings.filterwarnings("ignore", "The HMAC key is")
        try:
            arguments.run(arguments)
            sys.stdout.flush()
        except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:
            return end_with(error, arguments.prog)
    return ExitCode.OK


def _split(argv: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return our own arguments, and the command that follows the first `--` of `answer`.

    argparse would remove a further `--`, which belongs to that command.
    """
    if "--" not in argv or argv[0] != "answer":
        return argv, ()
    position = list(argv).index("--")
    return argv[:position], argv[position + 1 :]


def _build_parser(chosen: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser with the chosen command alone, or with all where no such one is chosen."""
    parser = argparse.ArgumentParser(
        prog="trio-rpc",
        description="LiveKit RPC: a room server, access tokens, calls, data, and a demonstration.",
        epilog=f"{ENVIRONMENT}\n{_EXIT_CODES}\n'trio-rpc COMMAND --help' explains a command.",
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"trio-rpc {version('trio-rpc')}")
    parser.set_defaults(prog=parser.prog, verbose=False)
    run_help(parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    # The others are not imported, which takes longer than all else of a short command.
    for name in set(COMMANDS).intersection(chosen) or COMMANDS:
        import_module(f".{name}", __name__).add_parser(commands)
    return parser
