"""The common part of all commands: the layout of their help, and shared options."""

from __future__ import annotations

import argparse
import os
import re
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeAlias

from .exits import UsageError

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

#: The key and secret of `serve --dev`. They are public: anybody who can reach the server can join.
DEV_API_KEY: Final = "devkey"
DEV_API_SECRET: Final = "trio-rpc-development-secret-not-for-production"

#: The secret of the same key in `livekit-server --dev`, which `lk --dev` and tutorials use.
LIVEKIT_DEV_API_SECRET: Final = "secret"

#: HS256 wants a secret of 32 bytes or more.
_SAFE_SECRET_BYTES: Final = 32

ENVIRONMENT: Final = """\
environment:
  LIVEKIT_URL         the URL of the room server, for commands that join a room
  LIVEKIT_TOKEN       the access token, for the same commands
  LIVEKIT_API_KEY     the API key that signs and verifies tokens
  LIVEKIT_API_SECRET  its secret, 32 bytes or more
  Options on the command line win over the environment.
"""

Formatter = argparse.RawDescriptionHelpFormatter


def add_command(
    commands: Commands, name: str, *, summary: str, description: str, examples: str
) -> argparse.ArgumentParser:
    """Add a parser for a command, whose help has examples and the environment."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"examples:\n{examples}\n{ENVIRONMENT}",
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.set_defaults(prog=parser.prog)
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        default=argparse.SUPPRESS,  # or that of a subcommand would undo that of its command
        help="log what happens, and tracebacks, on stderr",
    )
    return parser


def run_help(parser: argparse.ArgumentParser) -> None:
    """Have a command without a subcommand print its help."""

    def run(_arguments: argparse.Namespace) -> None:
        parser.print_help()

    parser.set_defaults(run=run)


# The API key of commands that create or inspect tokens


def add_api_key_options(parser: argparse.ArgumentParser) -> None:
    """Add `--api-key`, `--api-secret` and `--dev`, for `api_key_of`."""
    group = parser.add_argument_group("API key")
    group.add_argument("--api-key", metavar="KEY", help="(default: $LIVEKIT_API_KEY)")
    group.add_argument(
        "--api-secret",
        metavar="SECRET",
        help="(default: $LIVEKIT_API_SECRET, where other users of the machine don't see it)",
    )
    group.add_argument("--dev", action="store_true", help="the key of 'trio-rpc serve --dev'")


def api_key_of(arguments: argparse.Namespace) -> tuple[str, str] | None:
    """Return the API key and its secret from the options or the environment; None without any.

    Raises:
        UsageError: one is given without the other, or with `--dev`.
    """
    given = arguments.api_key, arguments.api_secret
    if arguments.dev:
        if any(given):
            raise UsageError("--dev has a key of its own: leave out --api-key and --api-secret")
        return DEV_API_KEY, DEV_API_SECRET
    return complete_api_key(*given)


def complete_api_key(
    api_key: str | None = None, api_secret: str | None = None
) -> tuple[str, str] | None:
    """Complete an API key from the environment; return None if there is neither key nor secret.

    Raises:
        UsageError: there is one without the other.
    """
    api_key = api_key or os.environ.get("LIVEKIT_API_KEY")
    api_secret = api_secret or os.environ.get("LIVEKIT_API_SECRET")
    if api_key and api_secret:
        return api_key, api_secret
    if api_key or api_secret:
        have, lack = ("key", "SECRET") if api_key else ("secret", "KEY")
        raise UsageError(f"there is an API {have} only: set LIVEKIT_API_{lack} as well")
    return None


def hint_at_length(api_key: str, api_secret: str) -> None:
    """Warn on stderr about a short secret."""
    size = len(api_secret.encode("utf-8", "surrogateescape"))
    if size < _SAFE_SECRET_BYTES:
        print(
            f"hint: the secret of API key {api_key!r} has {size} bytes, which can be guessed: "
            f"take {_SAFE_SECRET_BYTES} or more",
            file=sys.stderr,
        )


# Types of arguments


def duration(text: str) -> timedelta:
    """Parse a duration: `90s`, `30m`, `6h` or `7d`."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", text, re.ASCII)
    if match is None or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a duration: write a number above 0 and s, m, h or d, like 90s or 6h"
        )
    unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[match[2]]
    return timedelta(**{unit: int(match[1])})


def key_value(text: str) -> tuple[str, str]:
    """Parse `KEY=VALUE`; the value may be empty and have further equals signs."""
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def positive_int(text: str) -> int:
    """Parse a whole number above 0."""
    if not re.fullmatch(r"0*[1-9]\d{0,8}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def seconds(text: str) -> float:
    """Parse a number of seconds, 0 or more."""
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return float(text)


def port(text: str) -> int:
    """Parse a TCP port; 0 stands for a free one."""
    if not re.fullmatch(r"\d{1,5}", text, re.ASCII) or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535, 0 for a free one")
    return int(text)
